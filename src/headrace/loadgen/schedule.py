"""Which request goes next, and when."""

from __future__ import annotations

import random
from collections.abc import Iterator
from enum import IntEnum

WARMUP_SHARE = 0.1
"""Open loop: arrivals go on for this share of the measurement before it begins."""


class Phase(IntEnum):
    """What a request is for. Only measured ones count."""

    WARMUP = 0
    MEASURED = 1
    FILL = 2
    """Holds the load while the last measured requests finish."""


def share(total: int, index: int, workers: int) -> int:
    """One worker's share of `total`; the shares add up, and differ by one at most."""
    return total // workers + (index < total % workers)


def spread_lengths(output_tokens: int, slots: int, seed: int) -> list[int]:
    """Output lengths of the first wave: stratified over 1..output_tokens, then shuffled.

    Streams that start together with these lengths end evenly spread over one full stream, so the
    requests that follow keep the fleet in its steady mix of prefill and decode.
    """
    source = random.Random(f"{seed}/spread")
    lengths = [
        1 + min(output_tokens - 1, int((slot + source.random()) * output_tokens / slots))
        for slot in range(slots)
    ]
    source.shuffle(lengths)
    return lengths


def poisson_offsets(rate: float, seed: str) -> Iterator[float]:
    """Offsets in seconds of Poisson arrivals at `rate` per second, without end.

    Several workers with a part of the rate each make one Poisson stream of the whole rate.
    """
    source = random.Random(seed)
    offset_s = 0.0
    while True:
        offset_s += source.expovariate(rate)
        yield offset_s


class Quota:
    """Counts out the measured requests of one worker; None measures without end.

    `left` is how many have not ended yet, which is what the coordinator waits for.
    """

    def __init__(self, requests: int | None, *, fill: bool) -> None:
        self._unsent = requests
        self._fill = fill
        self.left = requests

    def take(self) -> Phase | None:
        """The phase of the next request; None when no more shall be sent."""
        if self._unsent is None:
            return Phase.MEASURED
        if self._unsent > 0:
            self._unsent -= 1
            return Phase.MEASURED
        return Phase.FILL if self._fill else None

    def ended(self) -> None:
        """One measured request completed or failed."""
        if self.left is not None:
            self.left -= 1
