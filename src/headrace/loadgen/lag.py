"""How late the client itself is: a timer that measures its own delay."""

from __future__ import annotations

import asyncio
from time import perf_counter

from headrace.loadgen.trail import Trail

PERIOD_S = 0.01


class LagSampler:
    """Samples the event loop's delay every 10 ms: a chunk that arrives can wait that long."""

    def __init__(self, loop: asyncio.AbstractEventLoop, trail: Trail) -> None:
        self._loop = loop
        self._trail = trail
        self._due_s = 0.0

    def start(self) -> None:
        """Sample until the loop ends."""
        self._due_s = perf_counter() + PERIOD_S
        self._loop.call_later(PERIOD_S, self._sample)

    def _sample(self) -> None:
        now = perf_counter()
        self._trail.lag(now, max(0.0, now - self._due_s))
        self.start()
