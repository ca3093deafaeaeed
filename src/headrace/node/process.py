"""One engine process of a fleet, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator

from headrace.node.board import Board
from headrace.node.child import Child
from headrace.node.engines import engine_process
from headrace.node.http import get
from headrace.node.job import ProcessSpec, ReplicaSpec
from headrace.node.keeper import CANNOT_START
from headrace.node.log import LogFollower, tail

STARTING_PERIOD_S = 0.2
PERIOD_S = 1.0
HEALTH_TIMEOUT_S = 5.0
MISSES = 3
"""Health checks in a row without a good answer before a ready replica counts as failed."""
REASON_LINES = 200


class Process:
    """Runs a ProcessSpec and keeps the board right about its replicas."""

    def __init__(self, spec: ProcessSpec, board: Board) -> None:
        self.spec = spec
        self._board = board
        self._engine = engine_process(spec.engine)
        self._child: Child | None = None
        self._killed = False

    def start(self) -> None:
        """Start the program."""
        self._child = Child(self.spec.argv, self.spec.env, self.spec.log)
        self._follower = LogFollower(self.spec.log, self._child.log_start)

    async def watch(self, start_timeout_s: float) -> None:
        """Follow the log for progress and give up on what does not come up in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + start_timeout_s
        while self.is_running():
            starting = self._in_state("starting")
            self._note_pid()
            self._note_progress(starting)
            if starting and loop.time() > deadline:
                self._give_up(starting, start_timeout_s)
            await asyncio.sleep(STARTING_PERIOD_S if starting else PERIOD_S)
        self.notice_death()

    def health_checks(self) -> Iterator[Coroutine[None, None, None]]:
        """One endless check per replica."""
        return (self._check(replica) for replica in self.spec.replicas)

    def notice_death(self) -> None:
        """Mark the replicas of an ended process as failed, with the reason in words."""
        code = self._child.exit_code() if self._child else None
        if code is None or not self._in_state("starting", "ready"):
            return
        reason = self._death_reason(code)
        for replica in self._in_state("starting", "ready"):
            self._board.update(replica, state="failed", detail=reason)

    def is_running(self) -> bool:
        """Whether the program or a descendant of it runs."""
        return self._child is not None and self._child.exit_code() is None

    def terminate(self) -> None:
        """Ask it to finish its requests and end."""
        if self._child and self.is_running():
            self._child.terminate()

    def kill(self) -> None:
        """End it now."""
        if self._child and self.is_running():
            self._killed = True
            self._child.kill()

    def mark_stopped_if_ended(self) -> None:
        """Replicas that failed before stay failed: the reason is still wanted."""
        if self.is_running():
            return
        detail = "killed: it did not end in time" if self._killed else None
        for replica in self._in_state("starting", "ready", "draining"):
            self._board.update(replica, state="stopped", detail=detail, pid=None)

    async def _check(self, replica: ReplicaSpec) -> None:
        misses = 0
        while self.is_running():
            answer = await get(f"{replica.url}/health", HEALTH_TIMEOUT_S)
            good = answer is not None and answer.status == 200
            misses = 0 if good else misses + 1
            if self.is_running():
                self._note_health(replica.id, good, misses)
            state = self._board.replicas[replica.id].state
            await asyncio.sleep(STARTING_PERIOD_S if state == "starting" else PERIOD_S)

    def _note_health(self, replica: str, good: bool, misses: int) -> None:
        state = self._board.replicas[replica].state
        if good and state in ("starting", "failed"):
            self._board.update(replica, state="ready", detail=None)
        elif state == "ready" and misses >= MISSES:
            detail = f"/health gave no good answer {misses} times in a row"
            self._board.update(replica, state="failed", detail=detail)

    def _note_pid(self) -> None:
        pid = self._child.pid if self._child else None
        for replica in self._in_state("starting", "ready"):
            self._board.update(replica, pid=pid)

    def _note_progress(self, starting: list[str]) -> None:
        if not starting:
            return
        phases = [
            found for line in self._follower.new_lines() if (found := self._engine.phase(line))
        ]
        for replica in starting if phases else []:
            self._board.update(replica, detail=phases[-1])

    def _give_up(self, starting: list[str], start_timeout_s: float) -> None:
        for replica in starting:
            last = self._board.replicas[replica].detail
            doing = f"; it was {last!r}" if last else ""
            detail = f"not ready after {start_timeout_s:g} s{doing}"
            self._board.update(replica, state="failed", detail=detail)
        if not self._in_state("ready"):
            self.kill()

    def _death_reason(self, code: int) -> str:
        """The keeper says why a program could not be started; all else is the engine's to read."""
        log_tail = self._log_tail()
        last = log_tail.rpartition("\n")[2]
        if code == CANNOT_START and last.startswith("cannot start "):
            return last
        return self._engine.death_reason(code, log_tail)

    def _in_state(self, *states: str) -> list[str]:
        own = (self._board.replicas[spec.id] for spec in self.spec.replicas)
        return [replica.id for replica in own if replica.state in states]

    def _log_tail(self) -> str:
        start = self._child.log_start if self._child else 0
        return "\n".join(tail(self.spec.log, REASON_LINES, start))
