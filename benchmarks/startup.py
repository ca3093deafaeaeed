"""How long 96 simulated replicas take from a start to ready, and what is left after a stop.

    python benchmarks/startup.py [--repetitions 3]

As `headrace run` starts them (as few processes as possible) and as `headrace up` does (eight).
Prints medians of seconds, and the processes and listening ports that were left: none.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from headrace.cli.plan import plan_for
from headrace.cli.start import UP_PROCESSES
from headrace.node.ports import is_free
from headrace.planner.plan import Plan
from headrace.spec.load import load_fleet
from headrace.targets.local.fleet import start, stop, wait_ready
from headrace.targets.local.job import plan_job

FLEET = """
name: startup
model: Qwen/Qwen3.5-27B-FP8
hardware: {gpu: B200, nodes: 12, gpus_per_node: 8}
workload: {input_tokens: 1024, output_tokens: 512, concurrency: 960}
engine: {kind: simulated, args: {tensor_parallel_size: 1}}
"""


def main() -> None:
    """Measure both ways several times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.update(HEADRACE_STATE_DIR=f"{name}/state", HEADRACE_STARTUP=name)
        file = folder / "startup.yaml"
        file.write_text(FLEET, encoding="ascii")
        plan = plan_for(load_fleet(file), file)
        for label, processes in (("run", None), ("up", UP_PROCESSES)):
            rows = [
                once(plan, folder / f"{label}-{number}", processes, name)
                for number in range(options.repetitions)
            ]
            ready_s, down_s = (
                statistics.median(column) for column in list(zip(*rows, strict=True))[:2]
            )
            left = max(row[2] for row in rows)
            print(
                f"{label:4} {plan.chosen.layout.replicas} replicas ready after {ready_s:.1f} s, "
                f"stopped after {down_s:.1f} s, {left} processes or ports left"
            )


def once(plan: Plan, run_dir: Path, processes: int | None, mark: str) -> tuple[float, float, int]:
    """Seconds to ready, seconds to stopped, what is left."""
    run_dir.mkdir()
    began_s = time.monotonic()
    fleet = start(plan_job(plan, run_dir, processes=processes), attached=True)
    ready = wait_ready(fleet)
    ready_s = time.monotonic()
    stop(fleet)
    down_s = time.monotonic()
    urls = [urlsplit(url) for url in (*(r.url for r in ready.replicas), *ready.urls)]
    busy = sum(not is_free(url.hostname or "", url.port or 0) for url in urls)
    return ready_s - began_s, down_s - ready_s, busy + _running(mark)


def _running(mark: str) -> int:
    """Processes of this fleet, known by the mark in their environment; not this one."""
    wanted, count = f"HEADRACE_STARTUP={mark}".encode(), 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                count += wanted in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
    return count


if __name__ == "__main__":
    main()
