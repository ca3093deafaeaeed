"""How long planning takes: the search itself, and `headrace plan` from a cold start.

    python benchmarks/planner.py [REPETITIONS]

Prints one line per recipe: configurations searched, the search in one process (median), and the
command from a cold start (median of wall-clock seconds, interpreter and imports included).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from headrace.cli.plan import plan_for
from headrace.spec.load import load_fleet

RECIPES = Path(__file__).parent.parent / "recipes"
NAMES = ("qwen35-27b-b200x8", "qwen35-27b-b200x96", "qwen35-27b-b200x96-published")


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"{'recipe':32} {'searched':>9} {'search':>9} {'5,000 in':>9} {'cold start':>11}")
    for name in NAMES:
        path = RECIPES / f"{name}.yaml"
        plans = [plan_for(load_fleet(path), path) for _ in range(repetitions)]
        search_s = statistics.median(plan.elapsed_s for plan in plans)
        cold_s = statistics.median(cold_start_s(path) for _ in range(repetitions))
        searched = plans[0].searched
        print(
            f"{name:32} {searched:9,} {search_s:7.2f} s {search_s / searched * 5000:7.2f} s "
            f"{cold_s:9.2f} s"
        )


def cold_start_s(path: Path) -> float:
    """Wall-clock seconds of `headrace plan` in a fresh interpreter."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "headrace.cli.main", "plan", str(path), "--json"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
