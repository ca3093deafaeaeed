"""Calls at exact times in an event loop, whose own timers have whole milliseconds.

libuv counts time in milliseconds and rounds up, so that its calls come half a millisecond late on
average, asked from a clock that is another half behind; asyncio's own selector rounds up as well.
A kernel timer (timerfd_create(2)) has nanoseconds and wakes the loop as a socket does: it waits in
line with the sockets, where libuv looks at its timers only after many rounds of reading.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import sys
from collections.abc import Callable
from math import ceil
from time import perf_counter
from typing import Any

CLOCK_MONOTONIC = 1
SECOND_NS = 1_000_000_000
ABSOLUTE = 1
"""TFD_TIMER_ABSTIME, on the clock that is Python's perf_counter on Linux."""


class _Times(ctypes.Structure):
    """`struct itimerspec`: the interval, then the first expiry."""

    _fields_ = tuple(
        (name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")
    )


class Timers:
    """What is to be called, and when, on the perf_counter clock in seconds.

    Of calls for the same time the first asked comes first. Elsewhere than on Linux these are the
    loop's own timers, which come up to a millisecond or two late.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asked = 0
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._calling = self._closed = False
        kind = _KernelAlarm if sys.platform == "linux" else _LoopAlarm
        self._alarm = kind(loop, self._ring)

    def time(self) -> float:
        """Now, on the clock of `call_at`."""
        return perf_counter()

    def call_at(self, at_s: float, call: Callable[..., object], *arguments: Any) -> None:
        """Call then, or in the loop's next round if that is past. Never before `at_s`."""
        if self._closed:
            return
        self._asked += 1
        heapq.heappush(self._heap, (at_s, self._asked, call, arguments))
        if self._heap[0][1] == self._asked and not self._calling:
            self._alarm.set(at_s)

    def close(self) -> None:
        """Call nothing more."""
        self._heap.clear()
        if not self._closed:
            self._closed = True
            self._alarm.close()

    def _ring(self) -> None:
        """Call what is due by now. What is asked meanwhile lets the sockets have their turn."""
        now_s, last = perf_counter(), self._asked
        self._calling = True
        try:
            while self._heap and self._heap[0][0] <= now_s and self._heap[0][1] <= last:
                _, _, call, arguments = heapq.heappop(self._heap)
                call(*arguments)
        finally:
            self._calling = False
            if self._heap:
                self._alarm.set(self._heap[0][0])


class _KernelAlarm:
    """One timerfd; the loop watches it. Python has its own calls for this from 3.13 on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._times = _Times()
        self._told = ctypes.byref(self._times)
        self._ring = ring
        self._loop = loop
        self._fd = int(libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._fd, self._expired)

    def set(self, at_s: float) -> None:
        """Ring then, and not when it was set to before."""
        at_ns = max(1, ceil(at_s * SECOND_NS))  # all zero would stop it
        self._times.first_s, self._times.first_ns = divmod(at_ns, SECOND_NS)
        if self._settime(self._fd, ABSOLUTE, self._told, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        """Ring no more."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # set anew since it expired
            return
        self._ring()


class _LoopAlarm:
    """The same by the loop's own timers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at_s: float) -> None:
        """Ring then, and not when it was set to before."""
        self.close()
        wait_s = max(0.0, at_s - perf_counter())
        self._timer = self._loop.call_later(ceil(wait_s * 1e3) / 1e3, self._ring)

    def close(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()
