"""Asks the replicas of a process how they are, and acts on what they say."""

from __future__ import annotations

import asyncio
from typing import Protocol

from headrace.node.board import Board
from headrace.node.http import get
from headrace.node.job import HealthSpec

STARTING_PERIOD_S = 0.2


class Checked(Protocol):
    """The process whose replicas are asked."""

    enlisted: set[str]

    def is_running(self) -> bool:
        """Whether there is anyone to ask."""

    def became_ready(self) -> None:
        """A replica of it serves."""

    def kill(self) -> None:
        """End it now."""


class Health:
    """Bad checks in a row, by replica. A process whose replicas all hang is ended."""

    def __init__(self, spec: HealthSpec, board: Board, process: Checked) -> None:
        self.verdict: str | None = None
        """Why the process was ended, when it was ended from here."""
        self._spec = spec
        self._board = board
        self._process = process
        self._misses: dict[str, int] = {}

    def forget(self) -> None:
        """The process has been started anew."""
        self.verdict = None
        self._misses.clear()

    async def check(self, replica: str) -> None:
        """Ask one replica over and over, until cancelled."""
        while True:
            if self._process.is_running() and replica in self._process.enlisted:
                await self._ask(replica)
            starting = self._board.replicas[replica].state == "starting"
            await asyncio.sleep(STARTING_PERIOD_S if starting else self._spec.period_s)

    async def _ask(self, replica: str) -> None:
        url = self._board.replicas[replica].url
        answer = await get(f"{url}/health", self._spec.timeout_s)
        if not self._process.is_running() or url != self._board.replicas[replica].url:
            return
        good = answer is not None and answer.status == 200
        self._misses[replica] = 0 if good else self._misses.get(replica, 0) + 1
        self._note(replica, good)

    def _note(self, replica: str, good: bool) -> None:
        state, misses = self._board.replicas[replica].state, self._misses[replica]
        if good and state in ("starting", "failed"):
            self._process.became_ready()
            self._board.update(replica, state="ready", detail=None)
        elif state == "ready" and misses >= self._spec.fail_after:
            detail = f"/health gave no good answer {misses} times in a row"
            self._board.update(replica, state="failed", detail=detail)
        elif state == "failed" and self._all_hang():
            self.verdict = f"it hung: /health gave no good answer {misses} times in a row"
            self._process.kill()

    def _all_hang(self) -> bool:
        counts = [self._misses.get(replica, 0) for replica in self._process.enlisted]
        return min(counts, default=0) >= self._spec.kill_after
