"""How late the client itself is: a kernel timer that waits in line with the sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from headrace.loadgen.trail import Trail
from headrace.timers import Timers

PERIOD_S = 0.01


class Heartbeat:
    """Calls back every 10 ms and records how late each call was.

    The delay is what a chunk meets that arrives at that moment. A timer of the event loop would
    say something else: while thousands of sockets are ready, libuv reads them for many rounds
    before it looks at its timers. After a stall every missed beat counts with its own delay.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, trail: Trail, on_beat: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._trail = trail
        self._on_beat = on_beat
        self._due_s = 0.0
        self._timers: Timers | None = None

    def start(self) -> None:
        """Beat until `stop`."""
        self._timers = Timers(self._loop)
        self._due_s = perf_counter() + PERIOD_S
        self._timers.call_at(self._due_s, self._beat, self._timers)

    def stop(self) -> None:
        """Beat no more."""
        if self._timers is not None:
            self._timers.close()
            self._timers = None

    def _beat(self, timers: Timers) -> None:
        now = perf_counter()
        while self._due_s <= now:
            self._trail.lag(now, now - self._due_s)
            self._due_s += PERIOD_S
        timers.call_at(self._due_s, self._beat, timers)
        self._on_beat()
