"""A day of changing load: what each hour costs, with a fleet that follows the load."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from headrace.simulator.autoscaling import ScalingPolicy
from headrace.simulator.case import WARM_ANSWERS, Case
from headrace.simulator.control import Course, Scaling, Timing
from headrace.simulator.result import EventRow, HourRow
from headrace.simulator.simulation import Outcome, simulate
from headrace.simulator.workload import Curve

HOUR_S = 3600.0
FILL = 0.9
"""Share of the planned requests in flight that the autoscaler aims at."""
TYPICAL = (
    *(0.42, 0.34, 0.29, 0.26, 0.25, 0.27, 0.34, 0.46, 0.62, 0.78, 0.90, 0.96),
    *(0.98, 1.00, 0.99, 0.97, 0.93, 0.88, 0.82, 0.77, 0.72, 0.66, 0.58, 0.50),
)
"""Shares of the peak by hour of the day: an assumed office day, not a measured one."""


def day(
    case: Case,
    rates: tuple[float, ...],
    start_s: float,
    spare: int,
    progress: Callable[[float], None],
) -> tuple[list[HourRow], list[EventRow], Outcome]:
    """Simulate a rate for each hour, in requests/s. The file's nodes are the most there may be.

    The fleet is filled before the day begins: an empty one would be made smaller at once.
    """
    hours = len(rates)
    times = tuple(HOUR_S * (hour + 0.5) for hour in range(hours))
    filled_s = WARM_ANSWERS * case.answer_s
    points = (0.0, *(filled_s + at_s for at_s in (0.0, *times, HOUR_S * hours)))
    curve = Curve(points, (rates[0], rates[0], *rates, rates[-1]))
    policy = ScalingPolicy(
        least=1 + spare,
        most=case.replicas,
        target_in_flight=FILL * case.in_flight,
        spare=spare,
        horizon_s=start_s,
    )
    first = math.ceil(rates[0] * case.answer_s / policy.target_in_flight) + spare
    initial = min(case.replicas, max(policy.least, first))
    course = Course(Timing(start_s=start_s), scaling=Scaling(policy), initial=initial)
    setup = replace(case.setup(HOUR_S * hours, curve, course), warmup_s=filled_s)
    outcome = simulate(setup, progress, quick=case.quick)
    ready = _ready_by_hour(outcome, initial, hours, case)
    rows = [_hour(case, outcome, hour, rates[hour], ready[hour]) for hour in range(hours)]
    events = [EventRow(**vars(event)) for event in outcome.history]
    return rows, events, outcome


def _ready_by_hour(outcome: Outcome, initial: int, hours: int, case: Case) -> list[float]:
    """Mean replicas that took requests, by hour."""
    times = [0.0, *(event.at_s for event in outcome.history)]
    counts = [initial, *(event.ready for event in outcome.history)]
    total = np.zeros(hours)
    for begin, end, count in zip(times, [*times[1:], hours * HOUR_S], counts, strict=True):
        for hour in range(int(begin // HOUR_S), min(hours, int(end // HOUR_S) + 1)):
            inside = min(end, (hour + 1) * HOUR_S) - max(begin, hour * HOUR_S)
            total[hour] += max(0.0, inside) * count
    return [float(x) for x in np.minimum(total / HOUR_S, case.replicas)]


def _hour(case: Case, outcome: Outcome, hour: int, rate: float, replicas: float) -> HourRow:
    r = outcome.requests
    begin_s = outcome.begin_s + hour * HOUR_S
    inside = (r.done_s > begin_s) & (r.done_s <= begin_s + HOUR_S)
    done = inside & outcome.completed
    several = done & (r.output_tokens > 1)
    tpot_s = (r.done_s[several] - r.first_s[several]) / (r.output_tokens[several] - 1)
    ttft_s = r.first_s[done] - r.sent_s[done]
    tokens = float(
        r.input_tokens[done].sum(dtype=np.int64) + r.output_tokens[done].sum(dtype=np.int64)
    )
    price = case.usd_per_gpu_hour
    usd = price * case.gpus_per_replica * replicas if price else None
    return HourRow(
        hour=hour,
        asked_request_s=rate,
        replicas_mean=replicas,
        completed=int(done.sum()),
        failed=int((inside & outcome.failed).sum()),
        tpot_p99_ms=float(np.percentile(tpot_s, 99) * 1e3) if len(tpot_s) else None,
        ttft_p99_ms=float(np.percentile(ttft_s, 99) * 1e3) if len(ttft_s) else None,
        usd=usd,
        usd_per_million_tokens=usd / tokens * 1e6 if usd and tokens else None,
    )
