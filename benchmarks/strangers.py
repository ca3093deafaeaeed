"""What strangers cost the others: latency beside each of them over latency without.

    python benchmarks/strangers.py [--seconds 3] [--repetitions 3]

A fleet of two machines (both this one) with API keys serves a steady load of streams; a stranger
knocks twenty times a second, or holds 250 slow connections. Quiet and beside a stranger are
measured in turn; prints medians, and what the strangers were answered. They share the cores with
clients, gateway and replicas, so a part of the difference is their own work. About 4 minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from headrace.cli.plan import plan_for
from headrace.loadgen.run import run_bench
from headrace.loadgen.spec import BenchSpec
from headrace.node.http import request
from headrace.node.job import Link
from headrace.planner.plan import Plan
from headrace.spec.load import load_fleet
from headrace.targets.local.fleet import RunningFleet, start, wait_ready
from headrace.targets.parts import assignments, coordinator_url, head_job, token_path

FLEET = """
name: guarded
model: Qwen/Qwen3.5-27B-FP8
hardware: {{gpu: B200, nodes: 2, gpus_per_node: 4}}
workload: {{input_tokens: 256, output_tokens: 64, concurrency: 32}}
engine: {{kind: simulated, args: {{tensor_parallel_size: 1}}}}
gateway: {{keys_file: {keys}}}
"""
GOOD, EXPIRED = "good-key-0123456789", "old-key-0123456789"
KEYS = f"team {GOOD}\nguest {EXPIRED} 2020-01-01\n"
KEY_VARIABLE = "HEADRACE_BENCHMARK_KEY"
KNOCKS_S = 20.0
SLOW = 250
GIGABYTE = 1_000_000_000
ASKED = b'{"model": "x", "prompt": [1], "max_tokens": 1}'


@dataclass(frozen=True)
class Doors:
    """Where strangers knock."""

    gateway: str
    metrics: str
    head: str


Knock = Callable[[Doors], Awaitable[str]]


async def knock(url: str, body: bytes = ASKED, key: str | None = None) -> str:
    """One request; its status, or that there was no answer."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = await request("POST", url, 5, body=body, headers=headers)
    return str(answer.status) if answer else "cut off"


async def flood(doors: Doors) -> str:
    """A body of a gigabyte, for as long as it is taken."""
    parts = urlsplit(doors.gateway)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {GOOD}\r\n"
    writer.write(f"{head}Content-Length: {GIGABYTE}\r\n\r\n".encode())
    try:
        for _ in range(GIGABYTE // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
    except OSError:
        return "cut off"
    finally:
        writer.close()
    return "taken"


async def crawl(doors: Doors) -> str:
    """A connection that sends a byte of its headers a second, until it is cut off."""
    parts = urlsplit(doors.gateway)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"GET / HTTP/1.1\r\nx: ")
    try:
        while not reader.at_eof():
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(1)
    except OSError:
        pass
    finally:
        writer.close()
    return "cut off"


STRANGERS: dict[str, Knock] = {
    "no key": lambda d: knock(f"{d.gateway}/v1/completions"),
    "a wrong key": lambda d: knock(f"{d.gateway}/v1/completions", key="wrong-key-0123456789"),
    "an expired key": lambda d: knock(f"{d.gateway}/v1/completions", key=EXPIRED),
    "bodies of 1 GB": flood,
    "slow-loris": crawl,
    "path tricks": lambda d: knock(f"{d.metrics}/%2e%2e/quitquitquit", key=GOOD),
    "forged registration": lambda d: knock(f"{d.head}/v1/nodes/node-0", key="guess"),
}


def main() -> None:
    """Measure the strangers in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    print(f"{'stranger':20} {'quiet p50':>10} {'beside':>10} {'slower':>7}  answers")
    with tempfile.TemporaryDirectory() as name, fleet(Path(name)) as (doors, model):
        for number, (who, ask) in enumerate(STRANGERS.items()):
            quiet, beside = [], []
            said: Counter[str] = Counter()
            for turn in range(options.repetitions):
                folder = Path(name) / f"{number}-{turn}"
                quiet.append(latency_ms(doors, model, folder / "quiet", options.seconds))
                with strangers(ask, doors, SLOW if ask is crawl else 1, said):
                    beside.append(latency_ms(doors, model, folder / "beside", options.seconds))
            a, b = statistics.median(quiet), statistics.median(beside)
            answers = ", ".join(f"{count} {answer}" for answer, count in said.items())
            print(f"{who:20} {a:7.1f} ms {b:7.1f} ms {b / a - 1:7.1%}  {answers}", flush=True)


def latency_ms(doors: Doors, model: str, out: Path, seconds: float) -> float:
    """p50 of whole requests of those who have a key."""
    os.environ[KEY_VARIABLE] = GOOD
    spec = BenchSpec(
        urls=[doors.gateway],
        model=model,
        input_tokens=256,
        output_tokens=64,
        concurrency=32,
        duration_s=seconds,
        api_key_env=KEY_VARIABLE,
    )
    summary = run_bench(spec, out)
    assert summary.requests.failed == 0
    assert summary.latency_ms is not None
    return summary.latency_ms.e2e.p50


@contextmanager
def strangers(ask: Knock, doors: Doors, count: int, said: Counter[str]) -> Iterator[None]:
    """So many of them, in a thread."""
    stop = threading.Event()

    async def one() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                said[await ask(doors)] += 1
            await asyncio.sleep(1 / KNOCKS_S)

    async def all_of_them() -> None:
        tasks = [asyncio.create_task(one()) for _ in range(count)]
        await asyncio.to_thread(stop.wait)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(all_of_them()))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def fleet(folder: Path) -> Iterator[tuple[Doors, str]]:
    """A head with a guarded gateway, and two nodes; all ready."""
    os.environ["HEADRACE_STATE_DIR"] = str(folder / "state")
    keys, file = folder / "keys.txt", folder / "fleet.yaml"
    keys.touch(mode=0o600)
    keys.write_text(KEYS)
    file.write_text(FLEET.format(keys=keys))
    plan = plan_for(load_fleet(file), file)
    names = ["node-0", "node-1"]
    (folder / "run").mkdir()
    with start(head_job(plan, folder / "run", names), attached=True) as head:
        agents = list(nodes(plan, names, head))
        try:
            ready = wait_ready(head)
            assert ready.gateway is not None
            url = coordinator_url(head.entry.run_dir, head.alive)
            yield Doors(ready.gateway.url, ready.gateway.metrics_url, url), plan.model
        finally:
            for agent in agents:
                agent.terminate()
                agent.wait()


def nodes(plan: Plan, names: list[str], head: RunningFleet) -> Iterator[subprocess.Popen[bytes]]:
    """An agent for every node, as a target would start it."""
    run_dir = head.entry.run_dir
    token = token_path(run_dir).read_text().strip()
    link = Link(url=coordinator_url(run_dir, head.alive))
    for part in assignments(plan, names, link, lambda n: run_dir / n, lambda _: "127.0.0.1"):
        part.run_dir.mkdir(parents=True)
        file = part.run_dir / "assignment.json"
        file.write_text(part.model_dump_json())
        with (part.run_dir / "agent.log").open("wb") as log:
            yield subprocess.Popen(
                [sys.executable, "-m", "headrace.node.agent", "--assignment", str(file)],
                env={**os.environ, "HEADRACE_NODE_TOKEN": token},
                stdout=log,
                stderr=log,
            )


if __name__ == "__main__":
    main()
