"""The simulator against the simulated engine over HTTP: ten mixed cases, the same model and load.

`python benchmarks/simulator_vs_engine.py [--seconds 20] [--repeat 3] [--spread]`: the engine runs
on the wall clock behind real sockets, loaded by the real load generator; the simulator runs in
virtual time. Differences are the sockets', the client's, and chance. Which drafts are accepted, and
where in a step a request arrives, is luck in both, so that the simulator plays the same load LUCKS
times and the middle counts; of the engine each run is one. `--spread` prints how much the figures
of the simulator differ from luck to luck, and from seed to seed. No GPU is involved.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np

from headrace.engines.simulated.job import SimulatedJob
from headrace.hardware.load import load_gpu
from headrace.loadgen.arrivals import at_rate, offsets, steps
from headrace.loadgen.records import Mask
from headrace.loadgen.run import run_bench
from headrace.loadgen.schedule import WARMUP_SHARE
from headrace.loadgen.spec import BenchSpec
from headrace.models.load import load_model
from headrace.node.ports import free_port
from headrace.perf.replica import ReplicaModel
from headrace.perf.step import StepModel
from headrace.planner.make import make_plan
from headrace.scheduler.spec import CacheSpec, SchedulerSpec
from headrace.simulator.requests import Requests
from headrace.simulator.result import distribution
from headrace.simulator.scenario import Client, Gateways, uniform
from headrace.simulator.simulation import Setup, simulate
from headrace.simulator.workload import Closed, Shape, Trace, Workload
from headrace.spec.fleet import Fleet

MODEL = "Qwen/Qwen3.5-27B-FP8"
LUCKS = 15
HTTP_S = 0.0002
"""Where no HTTP is measured."""
FIGURES = ("total tok/s", "TPOT p50", "TTFT p50", "TPOT p99", "TTFT p99")


@dataclass(frozen=True)
class Case:
    name: str
    replica: ReplicaModel
    replicas: int
    input_tokens: int
    output_tokens: int
    concurrency: int | None = None
    rate: float | None = None
    longer: int = 1
    """So many times `--seconds`: where chance alone moves a median by 1 % in 20 s (`--spread`)."""


@dataclass(frozen=True)
class Compared:
    case: Case
    engine: tuple[float, ...]
    simulator: tuple[float, ...]
    valid: bool

    @property
    def off(self) -> list[float]:
        """Simulator over engine, minus 1, by figure."""
        return [s / e - 1 for s, e in zip(self.simulator, self.engine, strict=True)]


def planned(
    version: str, batched: int, seqs: int, mtp: int, state: str = "float32"
) -> ReplicaModel:
    """A replica on a B200 as the planner models it."""
    args = {
        "tensor_parallel_size": 1,
        "max_model_len": 4096,
        "max_num_seqs": seqs,
        "max_num_batched_tokens": batched,
        "kv_cache_dtype": "fp8",
        "mamba_ssm_cache_dtype": state,
    }
    if mtp:
        args["speculative_config"] = {"method": "mtp", "num_speculative_tokens": mtp}
    fleet = Fleet.model_validate(
        {
            "model": MODEL,
            "hardware": {"gpu": "B200"},
            "workload": {"input_tokens": 512, "output_tokens": 128},
            "engine": {"version": version, "args": args, "planned": False},
        }
    )
    plan = make_plan(fleet, load_model(MODEL), load_gpu("B200"))
    return ReplicaModel.from_json(plan.simulation)


def small_cache(pages: int) -> ReplicaModel:
    """Steps of 10 ms and too few pages for the load: sequences are preempted."""
    spec = SchedulerSpec(32, 2048, 4096, CacheSpec(pages, 16))
    return ReplicaModel(StepModel.of_length(0.01), spec)


def cases() -> list[Case]:
    """Closed and open loops, with and without drafts, short and long, tight budgets and caches."""
    plain = planned("0.33.0", 8192, 64, 0)
    drafted = planned("0.18.0", 8192, 128, 1)
    deep = planned("0.33.0", 4096, 64, 3)
    tight = planned("0.18.0", 512, 48, 1)
    return [
        Case("closed, no drafts", plain, 2, 512, 128, concurrency=48),
        Case("closed, MTP-1", drafted, 2, 512, 128, concurrency=96, longer=3),
        Case("closed, MTP-3", deep, 2, 256, 200, concurrency=32, longer=3),
        Case("one in flight", plain, 1, 3072, 16, concurrency=1),
        Case("more than slots", tight, 1, 256, 96, concurrency=80, longer=3),
        Case("tight token budget", tight, 2, 1024, 96, concurrency=48, longer=3),
        Case("few pages: preemption", small_cache(300), 1, 128, 96, concurrency=48),
        Case("Poisson, light", drafted, 2, 512, 128, rate=8.0, longer=3),
        Case("Poisson, heavy", drafted, 2, 512, 96, rate=24.0),
        Case("four replicas", plain, 4, 128, 64, concurrency=64),
    ]


def compare(case: Case, seconds: float, seed: int, http_s: float) -> Compared:
    window_s = seconds * case.longer
    engine, valid = on_engine(case, window_s, seed)
    return Compared(case, engine, in_simulator(case, window_s, seed, http_s), valid)


def http_way_s() -> float:
    """One way between client and engine, on this machine now: what a lone short request takes
    longer than its step, halved. The simulator is given it as network delay.
    """
    lone = Case("a lone request", planned("0.33.0", 8192, 64, 0), 1, 64, 4, concurrency=1)
    engine, _ = on_engine(lone, 4.0, 0)
    return max(0.0, engine[2] - in_simulator(lone, 4.0, 0, 0.0)[2]) / 2e3


def on_engine(case: Case, seconds: float, seed: int) -> tuple[tuple[float, ...], bool]:
    with tempfile.TemporaryDirectory() as folder, running_engine(case, Path(folder), seed) as urls:
        spec = BenchSpec(
            urls=urls,
            model="m",
            input_tokens=case.input_tokens,
            output_tokens=case.output_tokens,
            concurrency=case.concurrency,
            request_rate=case.rate,
            duration_s=seconds,
            seed=seed,
        )
        summary = run_bench(spec, Path(folder) / "run")
    latency = summary.latency_ms
    assert latency is not None
    total = summary.throughput.total_tok_s
    tpot, ttft = latency.tpot, latency.ttft
    return (total, tpot.p50, ttft.p50, tpot.p99, ttft.p99), summary.valid


@contextmanager
def running_engine(case: Case, folder: Path, seed: int) -> Iterator[list[str]]:
    """A process of its own that answers on these URLs, one for each replica."""
    ports = [free_port("127.0.0.1") for _ in range(case.replicas)]
    job = SimulatedJob(
        model="m",
        ports=ports,
        replica=case.replica.to_json(),
        max_model_len=4096,
        vocab_size=32_000,
        seed=seed,
    )
    path = folder / "job.json"
    path.write_text(job.model_dump_json())
    command = [sys.executable, "-m", "headrace.engines.simulated", "--job", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    try:
        for url in urls:
            _await(url)
        yield urls
    finally:
        process.terminate()
        process.wait()


def _await(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def in_simulator(case: Case, seconds: float, seed: int, http_s: float) -> tuple[float, ...]:
    """The middle of every figure over the lucks."""
    played = _played(case, seconds, seed, http_s)
    return tuple(map(statistics.median, zip(*played, strict=True)))


def _played(case: Case, seconds: float, seed: int, http_s: float) -> list[tuple[float, ...]]:
    return [_simulated(case, seconds, seed, http_s, luck) for luck in range(LUCKS)]


def _simulated(
    case: Case, seconds: float, seed: int, http_s: float, luck: int
) -> tuple[float, ...]:
    """Each URL is a gateway of one replica, since the load generator deals requests out itself."""
    apart = 1.0 - np.eye(case.replicas)
    scenario = uniform(
        case.replica,
        case.replicas,
        gateways=Gateways("round-robin", count=case.replicas),
        client=Client(turnaround_s=0.0),
        delay_s=http_s + apart,
        seed=luck,
    )
    shape = Shape(case.input_tokens, case.output_tokens)
    if case.rate is None:
        load = Workload(Closed(case.concurrency or 1), shape, seed)
        found = simulate(Setup(scenario, load, seconds))
        return _figures(found.requests, found.requests.as_bench_counts(seconds), seconds)
    load = Workload(_same_arrivals(case, 3 * seconds, seed), shape, seed)
    found = simulate(Setup(scenario, load, 3 * seconds))
    return _figures(found.requests, _counted(found.requests, seconds), seconds)


def _same_arrivals(case: Case, until_s: float, seed: int) -> Trace:
    """The very times at which the load generator's one worker sends."""
    gaps = steps("poisson", f"{seed}/0/arrivals", 1.0, 0, 1)
    due_s = offsets(gaps, at_rate(case.rate or 1.0))
    sent_s = np.array(list(takewhile(lambda at_s: at_s < until_s, due_s)))
    ones = np.ones(len(sent_s), np.int32)
    return Trace(sent_s, ones * case.input_tokens, ones * case.output_tokens)


def _counted(r: Requests, seconds: float) -> Mask:
    """As the load generator counts: its window begins when the warm-up's requests have ended."""
    warmup = r.sent_s < WARMUP_SHARE * seconds
    begin_s = max(WARMUP_SHARE * seconds, float(r.done_s[warmup].max(initial=0.0)))
    inside: Mask = ~warmup & (r.done_s >= begin_s) & (r.done_s <= begin_s + seconds)
    return inside


def _figures(r: Requests, counts: Mask, seconds: float) -> tuple[float, ...]:
    sent_s, first_s, done_s = r.sent_s[counts], r.first_s[counts], r.done_s[counts]
    output = r.output_tokens[counts]
    total = int(output.sum() + r.input_tokens[counts].sum()) / seconds
    tpot, ttft = distribution((done_s - first_s) / (output - 1)), distribution(first_s - sent_s)
    return total, tpot.p50, ttft.p50, tpot.p99, ttft.p99


def spread(case: Case, seconds: float) -> list[tuple[str, list[float]]]:
    """Deviation over mean of the simulator's figures: the same load, and other loads."""
    window_s = seconds * case.longer
    lucks = _played(case, window_s, 0, HTTP_S)
    seeds = [_simulated(case, window_s, seed, HTTP_S, seed) for seed in range(LUCKS)]
    return [("luck", _deviations(lucks)), ("seed", _deviations(seeds))]


def _deviations(played: list[tuple[float, ...]]) -> list[float]:
    found = np.array(played)
    return list(found.std(axis=0) / found.mean(axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--spread", action="store_true", help="the simulator alone, by luck")
    parser.add_argument("--only", help="a part of a case's name; several with commas")
    options = parser.parse_args()
    http_s = 0.0 if options.spread else http_way_s()
    print(f"HTTP takes {1e3 * http_s:.2f} ms one way")
    print(f"{'case':30}" + "".join(f"{name:>13}" for name in FIGURES) + "   (simulator - engine)")
    for case in cases():
        if options.only and not any(part in case.name for part in options.only.split(",")):
            continue
        if options.spread:
            for what, found in spread(case, options.seconds):
                print(f"{f'{case.name}, {what}':30}" + "".join(f"{x:13.1%}" for x in found))
            continue
        runs = [compare(case, options.seconds, seed, http_s) for seed in range(options.repeat)]
        middle = [statistics.median(run.off[i] for run in runs) for i in range(len(FIGURES))]
        invalid = "" if all(run.valid for run in runs) else "   client was the bottleneck"
        print(f"{case.name:30}" + "".join(f"{off:+13.1%}" for off in middle) + invalid, flush=True)


if __name__ == "__main__":
    main()
