"""What requests are for, how many there are, and how the first of them are spread."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from enum import IntEnum
from itertools import accumulate

WARMUP_SHARE = 0.1
"""Open loop: arrivals go on for this share of the measurement before it begins."""


class Phase(IntEnum):
    """What a request is for. Only measured ones count."""

    WARMUP = 0
    MEASURED = 1
    FILL = 2
    """Holds the load before the first measured request is due, and while the last ones finish."""


def share(total: int, index: int, workers: int) -> int:
    """One worker's share of `total`; the shares add up, and differ by one at most."""
    return total // workers + (index < total % workers)


def refill_sizes(concurrency: int, refill: int, servers: int) -> list[int]:
    """How many of the places at each server are taken again together, one at least.

    Servers share `refill` as they share the places, which are dealt out to them in turn.
    """
    places = (len(range(server, concurrency, servers)) for server in range(servers))
    part = min(1.0, refill / concurrency)
    return [max(1, round(count * part)) for count in places]


def spread_lengths(table: list[int], slots: int, seed: int) -> list[int]:
    """Output lengths of the first wave: what is left of answers in a steady state.

    `table` holds equally likely lengths. A stream that is looked at in a steady state is a long
    one as often as long ones take up time, and anywhere between its start and its end. Both are
    stratified, then shuffled: streams that start together with these lengths end evenly spread,
    and the requests that follow keep the fleet in its steady mix of prefill and decode. A length
    that the table repeats is stratified as one, so that one length is spread the same however
    often it is there.
    """
    source = random.Random(f"{seed}/spread")
    counted = sorted(Counter(table).items())
    sums = list(accumulate(length * count for length, count in counted))
    lengths = []
    for slot in range(slots):
        place = (slot + source.random()) / slots * sums[-1]
        which = min(len(counted) - 1, bisect_right(sums, place))
        length, count = counted[which]
        before = sums[which - 1] if which else 0
        lengths.append(1 + min(length - 1, int((place - before) / count)))
    source.shuffle(lengths)
    return lengths


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
