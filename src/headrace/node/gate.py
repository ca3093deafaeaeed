"""Starts that are spread out: engines that load at once fight for cores and disks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.node.job import StartSpec


class StartGate:
    """Lets `at_once` processes load at a time, and begin no closer than `gap_s`."""

    def __init__(self, spec: StartSpec) -> None:
        self._spec = spec
        self._slots = asyncio.Semaphore(spec.at_once) if spec.at_once else None
        self._next_s = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a slot, and hold it for the block."""
        if self._slots is not None:
            await self._slots.acquire()
        try:
            await self._wait_for_gap()
            yield
        finally:
            if self._slots is not None:
                self._slots.release()

    async def _wait_for_gap(self) -> None:
        loop = asyncio.get_running_loop()
        begin_s = max(loop.time(), self._next_s)
        self._next_s = begin_s + self._spec.gap_s
        await asyncio.sleep(begin_s - loop.time())
