"""When the kernel received a chunk, on the clock that everything else here is timed by.

The stamp is taken as the packet arrives (`SO_TIMESTAMPNS`, socket(7)), so it says the same however
late the client gets round to reading. It is real time, which can be set: the monotonic clock's
distance from it is measured for every batch of reads, and no stamp is believed across a jump.
"""

from __future__ import annotations

import socket
import struct
import time
from math import inf
from time import perf_counter

SO_TIMESTAMPNS = 35
"""Of Linux (asm-generic/socket.h); Python has no name for it."""
ROOM = socket.CMSG_SPACE(16) if hasattr(socket, "CMSG_SPACE") else 0
"""For one stamp, seconds and nanoseconds."""
TRIES = 4
CLOSE_S = 50e-6
"""Two clocks that were read within this time of each other were read together."""
JUMP_S = 1e-3
"""The two clocks are slewed alike: a larger change of their distance is real time being set."""
EARLY_S = 5e-3
"""How long a stamped packet may be on its way to its socket."""

NEVER = (1.0, 0.0)
"""Between these lies nothing."""

seconds = struct.Struct("@qq").unpack
"""A stamp's whole seconds and its nanoseconds."""


def ask(wire: socket.socket) -> bool:
    """Have the kernel stamp what this socket receives; whether it does."""
    if wire.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        wire.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


class Batch:
    """What one batch of reads may believe of the stamps that it meets.

    What it reads came after `after_s`: when an earlier batch, one that left nothing, had begun.
    """

    __slots__ = ("after_s", "now_s", "offset_s", "true")

    def __init__(self) -> None:
        self.true = False
        """Whether stamps count: real time was not set since the batch before."""
        self.offset_s = 0.0
        """Add it to a stamp."""
        self.now_s = self.after_s = perf_counter()
        self._read_clocks()

    def next(self, *, emptied: bool) -> None:
        """Begin the next batch. `emptied`: the one before left nothing."""
        before_s = self.offset_s
        if emptied:
            self.after_s = self.now_s
        self._read_clocks()
        self.true = abs(self.offset_s - before_s) < JUMP_S

    def _read_clocks(self) -> None:
        """Read both clocks as nearly at once as a few tries allow."""
        apart_s = inf
        for _ in range(TRIES):
            first_s = perf_counter()
            real_s = time.time()
            self.now_s = perf_counter()
            if self.now_s - first_s < apart_s:
                apart_s = self.now_s - first_s
                self.offset_s = (first_s + self.now_s) / 2 - real_s
            if apart_s < CLOSE_S:
                return

    def span(self) -> tuple[float, float]:
        """Between these a stamp surely is of this batch."""
        return (self.after_s, self.now_s) if self.true else NEVER

    def possible(self, at_s: float) -> bool:
        """Whether what is read now can have come at that time."""
        return self.after_s - EARLY_S <= at_s <= perf_counter() + EARLY_S
