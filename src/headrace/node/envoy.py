"""One Envoy of a gateway: a process that is started, asked, told its limit, and ended."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from headrace.gateway.cluster import LIMIT_KEY
from headrace.gateway.process import (
    STATS_PATH,
    EnvoyFiles,
    Membership,
    death_reason,
    envoy_argv,
    parse_membership,
    workers,
)
from headrace.node.child import Child
from headrace.node.http import Answer, request
from headrace.node.job import HealthSpec, RestartSpec
from headrace.node.log import tail
from headrace.node.restarts import CrashBudget

REASON_LINES = 50


class Envoy:
    """Starts when it is told to; says by itself when it would be started again (`due_s`)."""

    def __init__(
        self, config: Path, files: EnvoyFiles, restart: RestartSpec, health: HealthSpec
    ) -> None:
        self.files = files
        self.known: Membership | None = None
        """What it last said of the replicas, since its start."""
        self.due_s: float | None = None
        """When it shall be started, by the loop's clock; None: it runs, or never again."""
        self.trouble: str | None = None
        """Why it does not serve, for people; of its last crash."""
        self.budget = CrashBudget(restart)
        self.unanswered = 0
        """Questions in a row that got no answer."""
        self._health = health
        self._config = config
        self._child: Child | None = None
        self._death_noted = False
        self._limit = 0

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        return self._child.pid if self._child and self.is_running() else None

    @property
    def listens(self) -> bool:
        """Whether its ports are open, as far as is known."""
        return self.known is not None and self.known.listening

    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.exit_code() is None

    def launch(self) -> None:
        """Start it. The endpoint file, empty perhaps, must be there."""
        self.due_s, self.known, self._death_noted = None, None, False
        self._limit = self.unanswered = 0
        self.files.admin.unlink(missing_ok=True)
        argv = envoy_argv(self._config, workers(len(os.sched_getaffinity(0))))
        self._child = Child(argv, {}, self.files.log, folder=self.files.folder)

    def notice_death(self) -> str | None:
        """Why it ended, said once, when it has; its next start is then for the caller to set."""
        code = self._child.exit_code() if self._child else None
        if code is None or self._child is None or self._death_noted:
            return None
        self._death_noted, self.known = True, None
        log_tail = "\n".join(tail(self.files.log, REASON_LINES, self._child.log_start))
        return death_reason(code, log_tail)

    async def look(self) -> None:
        """Ask what it knows of the replicas. One that listens, but answers no more, is ended."""
        answer = await self._ask("GET", STATS_PATH) if self.is_running() else None
        if answer is not None and answer.status == 200:
            self.known, self.unanswered = parse_membership(answer.body.decode()), 0
        elif self.listens:
            self.unanswered += 1
            if self.unanswered >= self._health.kill_after:
                self.kill()

    async def limit(self, in_flight: int) -> None:
        """Let no more requests in at a time than this; 0: no limit."""
        if in_flight == self._limit or not self.is_running():
            return
        answer = await self._ask("POST", f"/runtime_modify?{LIMIT_KEY}={in_flight}")
        if answer is not None and answer.status == 200:
            self._limit = in_flight

    async def knows(self, total: int, deadline_s: float) -> None:
        """Wait until it has read that so many replicas are ready, until the loop's `deadline_s`."""
        loop = asyncio.get_running_loop()
        while self.is_running() and loop.time() < deadline_s:
            await self.look()
            if self.known is not None and self.known.total == total:
                return
            await asyncio.sleep(0.05)

    def terminate(self) -> None:
        """End it: Envoy does so at once."""
        if self._child and self.is_running():
            self._child.terminate()

    def kill(self) -> None:
        """End it even when it hangs."""
        if self._child and self.is_running():
            self._child.kill()

    async def _ask(self, method: str, path: str) -> Answer | None:
        url = f"http://admin{path}"
        return await request(method, url, self._health.timeout_s, socket_file=self.files.admin)


def starts_again_s(envoy: Envoy, now_s: float) -> float | None:
    """When one that crashed is started again. The first time it does not wait."""
    delay_s = envoy.budget.crashed(now_s)
    if delay_s is None:
        return None
    return now_s + (0.0 if envoy.budget.crashes == 1 else delay_s)
