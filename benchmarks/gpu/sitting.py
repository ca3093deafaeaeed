"""One sitting at a GPU: several configurations, one after another, inside one time budget.

    python benchmarks/gpu/sitting.py SITTING.yaml OUT --budget 1500

SITTING.yaml lists configurations: a fleet file (`model`, `load_format`, `hardware`, `args`, `env`
and `gateway` change it), a time limit, and the loads that its one engine serves
(`benchmarks/gpu/h200.yaml`). A list in their place runs side by side, each on the GPUs that it
names (`gpus: "0"`) and on the cores (`cpus: "0-15"`), and the next begins when all have ended; a
list within it is a lane, whose configurations follow each other (`benchmarks/gpu/h200-four.yaml`).
A load with `direct: true` goes to the replicas and not through the gateway. `one_server: true`
starts one server with a data-parallel rank for each replica (`one_server.py`). Every configuration
runs in a process group of its own, which is ended at its limit whatever it does. In place of a
fleet there may be a `command` (`{out}` is OUT), begun `after_s` seconds later; `unless` names a
configuration whose results make this one needless, `only_with` one without whose results it is
pointless. At `forget_tuning: true` in the list what the engines before it tuned by timing is
deleted, because they shared a GPU, and what they compiled is kept. Results are written as they
come:

    OUT/machine.json      GPU, driver, software
    OUT/gpu.csv           clocks, power and memory once a second, where there is an nvidia-smi
    OUT/results.jsonl     a line per load
    OUT/<configuration>/  plan.json, startup.json (phases of the start), logs/, profile/
    OUT/<configuration>/<load>/  a run's folder: `headrace report` and `headrace calibrate` read it;
                                 processors.json: processor time by process

Compile caches are vLLM's own, in one place for all configurations; each start says how long it
took, so starting one configuration twice shows what they are worth.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import yaml
from machine import machine
from one_server import one_server
from processors import processor_time

from headrace.cli.plan import plan_for
from headrace.errors import HeadraceError
from headrace.loadgen.summary import Summary
from headrace.node.topology import cpu_list
from headrace.planner.plan import Plan
from headrace.spec.fleet import Fleet
from headrace.spec.load import load_fleet
from headrace.tuner.counters import Counters, rates
from headrace.tuner.search import WINDOW_REQUESTS
from headrace.tuner.session import Served, measure, plan_of_load, served

STOP_S = 45
"""From the first signal to a configuration's group until it is killed: engines end in 30 s."""
LOOK_S = 0.5
"""A signal that comes just before a wait without a limit would not end it (Python's own race)."""
END_S = 20
"""A configuration's loads end this long before its limit, so that results are complete."""
PROFILED_STEPS = 24
SHAPE = ("input_tokens", "output_tokens", "concurrency", "refill")
CACHES = (Path("~/.cache/vllm"), Path("~/.triton"))
TUNING = ("*.autotune.json", "*.best_config")
GPU_FIELDS = (
    "index,timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,utilization.gpu,memory.used"
)


def main() -> None:
    """Run every configuration, or (as the child of such a call) one of them."""
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM):  # ignored in a shell's background
        signal.signal(number, signal.default_int_handler)
    sitting = yaml.safe_load(options.sitting.read_text(encoding="utf-8"))
    if options.only is not None:
        every = [one for group in _groups(sitting) for lane in group for one in lane]
        one = next(c for c in every if c.get("name") == options.only)
        if "cpus" in one:
            os.sched_setaffinity(0, cpu_list(one["cpus"]))
        sys.exit(_Configuration(one, options).run())
    options.out.mkdir(parents=True, exist_ok=True)
    end_s = time.monotonic() + options.budget
    with _gpu_log(options.out / "gpu.csv"):
        for group in _groups(sitting):
            if "forget_tuning" in group[0][0]:
                say(f"{_forget_tuning()} files of tuning deleted")
            else:
                _side_by_side(group, options, end_s)
    say("sitting over")


def _forget_tuning() -> int:
    """Delete what Triton and Inductor chose by timing; they choose anew at the next start."""
    found = [path for root in CACHES for name in TUNING for path in root.expanduser().rglob(name)]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


Lane = list[dict[str, Any]]
"""Configurations, one after another."""


def _groups(sitting: dict[str, Any]) -> list[list[Lane]]:
    """One after another; the lanes of a group side by side."""
    groups = (_listed(one) for one in sitting["configurations"])
    return [[_listed(lane) for lane in group] for group in groups]


def _listed(one: Any) -> list[Any]:
    return one if isinstance(one, list) else [one]


def _side_by_side(group: list[Lane], options: argparse.Namespace, end_s: float) -> None:
    children: list[subprocess.Popen[bytes]] = []
    over = threading.Event()
    with ThreadPoolExecutor(len(group)) as lanes:
        try:
            runs = [lanes.submit(_run_lane, lane, options, end_s, children, over) for lane in group]
            while wait(runs, LOOK_S).not_done:
                pass
            for run in runs:
                run.result()
        except KeyboardInterrupt:
            over.set()
            for child in children:
                _end(child)
            raise


def _run_lane(
    lane: Lane,
    options: argparse.Namespace,
    end_s: float,
    children: list[subprocess.Popen[bytes]],
    over: threading.Event,
) -> None:
    for one in lane:
        _run_one(one, options, end_s, children, over)


def _run_one(
    one: dict[str, Any],
    options: argparse.Namespace,
    end_s: float,
    children: list[subprocess.Popen[bytes]],
    over: threading.Event,
) -> None:
    if over.wait(one.get("after_s", 0)):
        return
    left_s = end_s - time.monotonic()
    if left_s < one.get("needs_s", 60):
        say(f"{one['name']}: left out, {left_s:.0f} s are left")
        return
    for key, wanted, state in (("unless", False, "there is"), ("only_with", True, "there is no")):
        if key in one and _has_results(options.out / one[key]) != wanted:
            say(f"{one['name']}: left out, {state} {one[key]}")
            return
    _run_child(one, options, min(left_s, one["limit_s"]), left_s, children, over)
    _sum_up_profile(options.out / one["name"])


def _has_results(folder: Path) -> bool:
    """Whether a configuration served at least one load."""
    return any(folder.glob("load-*/summary.json"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sitting", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--budget", type=float, default=1500.0, help="seconds for all of it")
    parser.add_argument("--processes", type=int, default=2, help="load generator processes")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--left", type=float, default=0.0, help=argparse.SUPPRESS)
    return parser.parse_args()


def say(text: str) -> None:
    """One line with the time of day, at once."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _run_child(
    one: dict[str, Any],
    options: argparse.Namespace,
    limit_s: float,
    left_s: float,
    children: list[subprocess.Popen[bytes]],
    over: threading.Event,
) -> None:
    """One configuration in a session of its own; nothing of it is left when this returns."""
    say(f"{one['name']}: begins, limit {limit_s:.0f} s")
    command = _command(one, options, limit_s, left_s)
    gpus = {"CUDA_VISIBLE_DEVICES": one["gpus"]} if "gpus" in one else {}
    child = subprocess.Popen(command, start_new_session=True, env={**os.environ, **gpus})
    children.append(child)
    try:
        code = child.wait(0 if over.is_set() else limit_s)
        say(f"{one['name']}: ended with {code}")
    except subprocess.TimeoutExpired:
        why = "interrupted" if over.is_set() else "at its limit"
        say(f"{one['name']}: {why}, stopping")
    finally:
        _end(child)


def _command(
    one: dict[str, Any], options: argparse.Namespace, limit_s: float, left_s: float
) -> list[str]:
    """The configuration's own, or this script for that configuration alone."""
    if "command" in one:
        return [str(word).format(out=options.out) for word in one["command"]]
    command = [sys.executable, __file__, str(options.sitting), str(options.out)]
    command += ["--only", one["name"], "--limit", str(limit_s), "--left", str(left_s)]
    return [*command, "--processes", str(options.processes)]


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask once, then kill the group. The fleet's agent sees the death of its parent as well."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            say("killing it")
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _sum_up_profile(folder: Path) -> None:
    """kernels.json beside a profile: traces may be too large to take along."""
    traces = list(folder.glob("profile/*.trace.json*"))
    if traces:
        script = str(Path(__file__).with_name("kernels.py"))
        command = [
            sys.executable,
            script,
            *map(str, traces),
            "--json",
            str(folder / "kernels.json"),
        ]
        subprocess.run(command, timeout=90, check=False)


@contextmanager
def _gpu_log(path: Path) -> Iterator[None]:
    """What nvidia-smi sees, once a second; nothing where there is none."""
    try:
        with path.open("ab") as file:
            logger = subprocess.Popen(
                ["nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,nounits", "-l", "1"],
                stdout=file,
                stderr=subprocess.DEVNULL,
            )
    except FileNotFoundError:
        path.unlink()
        yield
        return
    try:
        yield
    finally:
        logger.terminate()
        logger.wait()


class _Configuration:
    """One fleet, started once, and its loads."""

    def __init__(self, one: dict[str, Any], options: argparse.Namespace) -> None:
        self.one = one
        self.name: str = one["name"]
        self.options = options
        self.folder: Path = (options.out / one["name"]).resolve()
        self.began_s = time.monotonic()

    def run(self) -> int:
        """Exit status: 1 when it did not start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fleet = self._fleet()
        plan = plan_for(fleet)
        self._write_machine(fleet)
        predicted = plan.chosen.prediction
        say(f"{self.name}: predicted {predicted.total_tok_s:,.0f} total tok/s")
        try:
            start = one_server if self.one.get("one_server") else served
            with start(plan, self.folder, self._phase) as at:
                say(f"{self.name}: ready after {at.ready_s:.0f} s")
                self._loads(at)
        except HeadraceError as error:
            say(f"{self.name}: {error} ({error.hint})")
            return 1
        except KeyboardInterrupt:
            say(f"{self.name}: stopped")
            return 130
        return 0

    def _fleet(self) -> Fleet:
        fleet = load_fleet(self.options.sitting.parent / self.one["fleet"])
        args = {**fleet.engine.args, **self.one.get("args", {})}
        if any("profile" in load for load in self.one["loads"]):
            args["profiler_config"] = self._profiler_config()
        env = {**fleet.engine.env, **self.one.get("env", {})}
        load_format = self.one.get("load_format", fleet.engine.load_format)
        asked = {"args": args, "env": env, "load_format": load_format}
        engine = fleet.engine.model_copy(update=asked)
        hardware = fleet.hardware.model_copy(update=self.one.get("hardware", {}))
        model = self.one.get("model")
        if model:
            folder = (self.options.sitting.parent / model).resolve()
            fleet = fleet.model_copy(update={"model": str(folder)})
        policy = self.one.get("gateway", fleet.gateway.policy)
        gateway = fleet.gateway.model_copy(update={"policy": policy})
        changed = {"engine": engine, "hardware": hardware, "gateway": gateway}
        return fleet.model_copy(update=changed)

    def _profiler_config(self) -> dict[str, Any]:
        return {
            "profiler": "torch",
            "torch_profiler_dir": str(self.folder / "profile"),
            "torch_profiler_with_stack": False,
            "ignore_frontend": True,
            "max_iterations": PROFILED_STEPS,
        }

    def _write_machine(self, fleet: Fleet) -> None:
        path = self.options.out / "machine.json"
        if not path.exists():
            found = machine(fleet.engine.executable)
            path.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))

    def _phase(self, phase: str) -> None:
        say(f"{self.name}: {time.monotonic() - self.began_s:.0f} s {phase}")

    def _left_s(self) -> float:
        """Until this configuration's loads must have ended."""
        return float(self.options.limit) - END_S - (time.monotonic() - self.began_s)

    def _sitting_left_s(self) -> float:
        return float(self.options.left) - (time.monotonic() - self.began_s)

    def _loads(self, at: Served) -> None:
        for load in self.one["loads"]:
            wanted_s = load.get("if_left_s", 0.0)
            if self._left_s() < 15 or self._sitting_left_s() < wanted_s:
                say(f"{self.name}: {_load_name(load)} left out")
                continue
            try:
                self._load(at, load)
            except HeadraceError as error:
                say(f"{self.name}: {_load_name(load)}: {error}")

    def _load(self, at: Served, load: dict[str, Any]) -> None:
        if load.get("direct"):
            at = replace(at, urls=at.replica_urls, plan=_without_gateway(at.plan))
        asked = {key: load[key] for key in SHAPE if key in load}
        workload = at.plan.fleet.workload.model_copy(update={"refill": 1, **asked})
        plan = plan_of_load(at.plan, workload, plan_for)
        folder = self.folder / _load_name(load)
        predicted = plan.chosen.prediction
        request_s = (predicted.ttft_ms + predicted.tpot_ms * load["output_tokens"]) / 1e3
        # a window shorter than a request is not valid, whatever `duration_s` says
        duration_s = max(float(load.get("duration_s", 600)), WINDOW_REQUESTS * request_s)
        over = threading.Event()
        timer = threading.Timer(self._left_s(), over.set)
        timer.start()
        watch = _profiler(at, self.folder, over) if "profile" in load else None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with processor_time(folder / "processors.json"):
                summary = measure(
                    at,
                    plan,
                    folder,
                    duration_s,
                    processes=self.options.processes,
                    stop=over,
                    counters=watch,
                )
        finally:
            timer.cancel()
        if "profile" not in load:
            self._note(load, plan, summary)

    def _note(self, load: dict[str, Any], plan: Plan, summary: Summary) -> None:
        rate, latency = summary.throughput, summary.latency_ms
        tpot_ms = latency.tpot.mean if latency else 0.0
        line = {
            "configuration": self.name,
            "load": _load_name(load),
            "valid": summary.valid,
            "invalid_reasons": summary.invalid_reasons,
            "total_tok_s": rate.total_tok_s,
            "predicted_total_tok_s": plan.chosen.prediction.total_tok_s,
            "tpot_ms": tpot_ms,
            "predicted_tpot_ms": plan.chosen.prediction.tpot_ms,
            "usd_per_million_tokens": summary.usd_per_million_tokens,
        }
        with (self.options.out / "results.jsonl").open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")
        say(
            f"RESULT {self.name} {line['load']}: {rate.total_tok_s:,.0f} total tok/s "
            f"(predicted {line['predicted_total_tok_s']:,.0f}), TPOT {tpot_ms:.1f} ms, "
            f"{summary.requests.completed} completed, {summary.requests.failed} failed, "
            f"{'valid' if summary.valid else summary.invalid_reasons}"
        )


def _without_gateway(plan: Plan) -> Plan:
    gateway = plan.fleet.gateway.model_copy(update={"policy": "none"})
    return plan.model_copy(update={"fleet": plan.fleet.model_copy(update={"gateway": gateway})})


def _load_name(load: dict[str, Any]) -> str:
    kind = "profile" if "profile" in load else "load"
    name = f"{kind}-{load['input_tokens']}-{load['output_tokens']}-c{load['concurrency']}"
    name += f"-by{load['refill']}" if "refill" in load else ""
    name += "-direct" if load.get("direct") else ""
    return f"{name}-r{load['repetition']}" if "repetition" in load else name


def _profiler(at: Served, folder: Path, over: threading.Event) -> Callable[[Counters], None]:
    """Once decoding is steady: profile some steps, wait for the trace, end the load."""

    def begin(counters: Counters) -> None:
        threading.Thread(target=_profile, args=(at, folder, over, counters), daemon=True).start()

    return begin


def _profile(at: Served, folder: Path, over: threading.Event, counters: Counters) -> None:
    while not over.wait(1.0) and not _steady(counters):
        continue
    if over.is_set():
        return
    traces = folder / "profile"
    say(f"profiling {PROFILED_STEPS} steps")
    try:
        for verb in ("start_profile", "stop_profile"):
            request = urllib.request.Request(f"{at.replica_urls[0]}/{verb}", method="POST")
            urllib.request.urlopen(request, timeout=120).close()
            over.wait(8.0)
    except OSError as error:
        say(f"profile: {error}")
    for _ in range(60):
        if over.wait(1.0) or any(traces.glob("*.json*")):
            break
    over.wait(2.0)
    say(f"profile: {[path.name for path in traces.glob('*')]}")
    over.set()


def _steady(counters: Counters) -> bool:
    """Nothing waits, and the prompts of the first wave are through: output outruns the ramp."""
    now = rates(counters.readings, 3.0)
    readings = counters.readings
    if now is None or len(readings) < 6 or now.output_tok_s <= 0:
        return False
    settled = readings[-1].running >= 0.9 * max(r.running + r.waiting for r in readings)
    return settled and now.prompt_tok_s < 4 * now.output_tok_s


if __name__ == "__main__":
    main()
