"""The program that brings a fleet's agents onto their machines: a child of the fleet's head.

It places them (submits a job, starts actors), says in its log how that goes, a line at a time, and
stays for as long as they run. SIGTERM: it takes back what it has placed, and ends. An end unasked
means that nothing more will come; its last line says why.
"""

from __future__ import annotations

import asyncio

from headrace.node.child import Child
from headrace.node.job import PlacerSpec
from headrace.node.log import LogFollower, tail

LOOK_S = 0.2
STOP_S = 20.0
"""What taking back may take: queues answer slowly."""


class Placer:
    """Runs a PlacerSpec; `said` is the last line of its log."""

    def __init__(self, spec: PlacerSpec) -> None:
        self._spec = spec
        self._child: Child | None = None
        self._follower = LogFollower(spec.log)
        self.said = "not started"

    def start(self) -> None:
        """Start the program."""
        self._child = Child(self._spec.argv, {}, self._spec.log)
        self._follower = LogFollower(self._spec.log, self._child.log_start)
        self.said = "starting"

    def look(self) -> bool:
        """Read what it has said since; whether that is anything new."""
        lines = [line for line in self._follower.new_lines() if line.strip()]
        if lines:
            self.said = lines[-1].removeprefix("error: ")
        return bool(lines)

    def has_ended(self) -> bool:
        """Whether it ended."""
        return self._child is not None and self._child.exit_code() is not None

    def last_words(self) -> str:
        """The last line of its log, once it has ended."""
        start = self._child.log_start if self._child else 0
        lines = [line for line in tail(self._spec.log, 20, start) if line.strip()]
        return lines[-1].removeprefix("error: ") if lines else "it said nothing"

    async def stop(self) -> None:
        """Let it take back what it has placed; kill it when that takes too long."""
        if self._child is None or self.has_ended():
            return
        self._child.terminate()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STOP_S
        while not self.has_ended():
            if loop.time() > deadline:
                self._child.kill()
            await asyncio.sleep(0.05)
