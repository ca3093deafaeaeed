"""How late the client itself is: a kernel timer that waits in line with the sockets."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from time import perf_counter

from headrace.loadgen.trail import Trail

PERIOD_S = 0.01
CLOCK_MONOTONIC = 1


class _Times(ctypes.Structure):
    """`struct itimerspec`: the interval, then the first expiry."""

    _fields_ = tuple(
        (name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")
    )


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
        self._timer: int | None = None

    def start(self) -> None:
        """Beat until `stop`."""
        self._due_s = perf_counter() + PERIOD_S
        if sys.platform == "linux":
            self._timer = _kernel_timer()
            self._loop.add_reader(self._timer, self._expired)
        else:
            self._loop.call_later(PERIOD_S, self._again)

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)
            self._timer = None

    def _expired(self) -> None:
        assert self._timer is not None
        os.read(self._timer, 8)
        self._beat()

    def _again(self) -> None:
        self._beat()
        self._loop.call_later(PERIOD_S, self._again)

    def _beat(self) -> None:
        now = perf_counter()
        while self._due_s <= now:
            self._trail.lag(now, now - self._due_s)
            self._due_s += PERIOD_S
        self._on_beat()


def _kernel_timer() -> int:
    """A timerfd that expires every PERIOD_S (Python has its own call for this from 3.13 on)."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer = int(libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
    period_ns = int(PERIOD_S * 1e9)
    times = _Times(0, period_ns, 0, period_ns)
    if timer < 0 or libc.timerfd_settime(timer, 0, ctypes.byref(times), None) < 0:
        raise OSError(ctypes.get_errno(), "timerfd")
    return timer
