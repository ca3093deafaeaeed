"""When requests of an open loop are due. Pure, seeded; offsets in seconds from the start."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from math import sqrt

KINDS = ("poisson", "constant", "gamma")


def steps(kind: str, seed: str, burstiness: float, worker: int, workers: int) -> Iterator[float]:
    """Gaps between arrivals in units of the mean gap of one worker, without end.

    `constant` workers are staggered, so that together they are constant too. `gamma` has the
    shape `burstiness`: 1 is Poisson, below it arrivals come in bursts, above it more evenly.
    Several Poisson workers make one Poisson stream; several gamma workers are a little more even
    or less bursty than one.
    """
    source = random.Random(seed)
    if kind == "constant":
        yield (worker + 1) / workers
        while True:
            yield 1.0
    while True:
        if kind == "gamma":
            yield source.gammavariate(burstiness, 1.0 / burstiness)
        else:
            yield source.expovariate(1.0)


def offsets(gaps: Iterator[float], when: Callable[[float], float]) -> Iterator[float]:
    """Arrival times: the n-th is when `when` says that so many have been due."""
    count = 0.0
    for gap in gaps:
        count += gap
        yield when(count)


def at_rate(rate: float) -> Callable[[float], float]:
    """`count` arrivals are due after count / rate seconds."""
    return lambda count: count / rate


def ramped(rate: float, rate_to: float, over_s: float, hold_s: float = 0.0) -> Callable[..., float]:
    """The rate is held for `hold_s`, rises or falls evenly for `over_s`, then stays.

    Inverts the number due by then: rate * t + (rate_to - rate) * t^2 / (2 * over_s).
    """
    held = rate * hold_s
    climbed = (rate + rate_to) / 2 * over_s
    slope = (rate_to - rate) / over_s

    def when(count: float) -> float:
        rest = count - held
        if rest <= 0:
            return count / rate
        if rest >= climbed:
            return hold_s + over_s + (rest - climbed) / rate_to
        if abs(slope) < 1e-12:
            return hold_s + rest / rate
        return hold_s + (sqrt(rate * rate + 2 * slope * rest) - rate) / slope

    return when
