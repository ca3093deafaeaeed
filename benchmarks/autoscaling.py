"""What the autoscaler does on a day: changes, replica-hours against a perfect choice, latency.

`python benchmarks/autoscaling.py`: days of the typical curve that peak at several rates, on the
published fleet, one spare replica, replicas that take four minutes to start. A perfect choice knows
the rate of every second, starts and ends replicas in no time, and has the same spare one. All
simulated.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from headrace.cli.plan import plan_for
from headrace.simulator.case import Case, case_of
from headrace.simulator.day import FILL, HOUR_S, TYPICAL, day
from headrace.simulator.simulation import simulate
from headrace.simulator.workload import Open
from headrace.spec.load import load_fleet
from headrace.spec.recipes import recipe_path

PEAKS = (20.0, 40.0, 100.0, 500.0)
SPARE = 1


def perfect_hours(case: Case, rates: tuple[float, ...]) -> float:
    """Replica-hours of the fewest replicas that hold the target at each moment."""
    hours = len(rates)
    middle_s = HOUR_S * (np.arange(hours) + 0.5)
    rate = np.interp(np.arange(0.0, HOUR_S * hours, 10.0), middle_s, rates)
    replicas = np.ceil(rate / rate_at_target(case)) + SPARE
    return float(replicas.mean() * hours)


@functools.cache
def rate_at_target(case: Case) -> float:
    """Requests per second at which a replica has the target in flight, by Little's law."""
    planned = case.in_flight / case.answer_s
    one = replace(case, nodes=1)
    rates = [share * planned for share in (0.6, 0.7, 0.8, 0.9, 1.0, 1.1)]
    loads = []
    for rate in rates:
        outcome = simulate(one.setup(300.0, Open(rate * one.replicas)))
        loads.append(rate * float(outcome.e2e_s().mean()))
    return float(np.interp(FILL * case.in_flight, loads, rates))


def main() -> None:
    case = case_of(plan_for(load_fleet(Path(recipe_path("qwen35-27b-b200x96-published")))))
    for peak in PEAKS:
        rates = tuple(peak * share for share in TYPICAL)
        rows, events, outcome = day(case, rates, 240.0, SPARE, lambda _: None)
        up, down = (sum(f"scale {way}" in e.what for e in events) for way in ("up", "down"))
        hours = outcome.paid_replica_s / HOUR_S
        tpot = max(row.tpot_p99_ms or math.nan for row in rows)
        ttft = max(row.ttft_p99_ms or math.nan for row in rows)
        print(
            f"peak {peak:5.0f} requests/s: {up} up, {down} down; {hours:7.0f} replica-hours, "
            f"{hours / perfect_hours(case, rates) - 1:+.1%} against a perfect choice; worst hour: "
            f"TPOT p99 {tpot:.1f} ms, TTFT p99 {ttft:.0f} ms; failed {sum(r.failed for r in rows)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
