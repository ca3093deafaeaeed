"""How long planning takes: the search itself, and `headrace plan` from a cold start.

    python benchmarks/planner.py [REPETITIONS]

Prints one line per fleet file: configurations searched, the whole search in one process, how many
that is in a second, and the command from a cold start, interpreter and imports included. One core
is used throughout; medians of its own seconds (`core`, which other programs do not change much) and
of the wall clock's.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headrace.cli.plan import plan_for
from headrace.spec.load import load_fleet

RECIPES = Path(__file__).parent.parent / "recipes"
NAMES = ("qwen35-27b-b200x8", "qwen35-27b-b200x96", "qwen35-27b-b200x96-published")
BASE = """
model: Qwen/Qwen3.5-27B-FP8
hardware: {gpu: B200, gpus_per_node: 8}
slo: {ttft_p99_ms: 10000, tpot_p95_ms: 60, e2e_p90_ms: 60000}
"""
LONG = "{distribution: lognormal, mean_tokens: 3000, stdev_tokens: 4000, high: 32000}"
SHORT = "{distribution: lognormal, mean_tokens: 200, stdev_tokens: 200, high: 2000}"
MORE = {
    "many lengths": f"workload: {{input_tokens: {LONG}, output_tokens: {SHORT}}}\n",
    "conversations": "workload: {input_tokens: 200, output_tokens: 300, "
    "conversation: {turns: 6, think_time_s: 20, shared_tokens: 1500}}\n",
    "fewest GPUs": "goal: fewest-gpus\nspare_replicas: 1\nworkload: {request_rate: 719}\n",
}


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"{'':30} {'':>9} {'search':^18} {'per core':>9} {'cold start':^18}")
    print(
        f"{'fleet file':30} {'searched':>9} {'core':>9}{'wall':>9} {'second':>9} "
        f"{'core':>9}{'wall':>9}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files(Path(folder)).items():
            measure(name, path, repetitions)


def files(folder: Path) -> dict[str, Path]:
    """The recipes, and files of workloads that no recipe has."""
    found = {name: RECIPES / f"{name}.yaml" for name in NAMES}
    for name, lines in MORE.items():
        found[name] = folder / f"{name.replace(' ', '-')}.yaml"
        found[name].write_text(BASE + lines)
    return found


def measure(name: str, path: Path, repetitions: int) -> None:
    """Print one line."""
    fleet = load_fleet(path)
    searches = [timed(lambda: plan_for(fleet, path)) for _ in range(repetitions)]
    starts = [timed(lambda: cold_start(path)) for _ in range(repetitions)]
    searched = plan_for(fleet, path).searched
    core_s, wall_s = (statistics.median(column) for column in zip(*searches, strict=True))
    cold_core_s, cold_wall_s = (statistics.median(column) for column in zip(*starts, strict=True))
    print(
        f"{name:30} {searched:9,} {core_s:7.2f} s{wall_s:7.2f} s {searched / core_s:9,.0f} "
        f"{cold_core_s:7.2f} s{cold_wall_s:7.2f} s",
        flush=True,
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a core (of this process and of those that it waited for) and of the wall clock."""
    began_core, began_wall = core_seconds(), time.perf_counter()
    work()
    return core_seconds() - began_core, time.perf_counter() - began_wall


def core_seconds() -> float:
    """User and system time so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def cold_start(path: Path) -> None:
    """`headrace plan` in a fresh interpreter."""
    command = [sys.executable, "-m", "headrace.cli.main", "plan", str(path), "--json"]
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()
