"""The agent's gateway: an Envoy that knows the ready replicas."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime

from headrace.errors import HeadraceError
from headrace.gateway.cluster import LIMIT_KEY
from headrace.gateway.config import GatewayConfig
from headrace.gateway.keys import read_keys, write_valid
from headrace.gateway.process import (
    STATS_PATH,
    GatewayFiles,
    Membership,
    check_gateway,
    death_reason,
    envoy_argv,
    parse_membership,
    workers,
    write_config,
)
from headrace.node.board import Board
from headrace.node.child import Child
from headrace.node.http import Answer, request
from headrace.node.job import NodeJob
from headrace.node.log import tail
from headrace.node.ports import free_port
from headrace.node.restarts import CrashBudget
from headrace.targets.deployment import GatewayState

STARTING_PERIOD_S = 0.1
PERIOD_S = 1.0
FORGET_TIMEOUT_S = 2.0
ADMIN_TIMEOUT_S = 2.0
REASON_LINES = 50


class Gateway:
    """Runs Envoy for a job; `ready` once it sends requests to every ready replica."""

    def __init__(self, job: NodeJob, files: GatewayFiles, board: Board) -> None:
        """Raises InputError when the job's gateway cannot be as it is asked for."""
        if job.gateway is None:
            raise ValueError("the job has no gateway")
        check_gateway(job.gateway)
        self._spec = job.gateway
        self._name = job.fleet
        self._files = files
        self._board = board
        self._budget = CrashBudget(job.restart)
        self._child: Child | None = None
        self._due_s: float | None = None
        self._served = False
        self._death_noted = False
        self._limit = 0
        self._keys_seen: tuple[float, int] | None = None
        self._keys_version = 0

    def start(self) -> None:
        """Start Envoy. The endpoint file, empty perhaps, must have been published."""
        spec = self._spec
        if spec.policy == "none":
            raise HeadraceError("a gateway was asked for, with the policy none")
        port = spec.port or free_port(spec.host)
        metrics_port = spec.metrics_port or free_port(spec.metrics_host, {port})
        config = GatewayConfig(
            name=self._name,
            spec=spec,
            port=port,
            metrics_port=metrics_port,
            endpoints=self._files.endpoints,
            keys=self._files.keys if spec.keys_file else None,
            access_log=self._files.access_log if spec.access_log_share else None,
        )
        write_config(self._files, config)
        self._hand_out_keys()
        scheme = "https" if spec.tls else "http"
        guarded = "https" if spec.tls and spec.keys_file else "http"
        self._board.gateway = GatewayState(
            url=f"{scheme}://{_reachable(spec.host)}:{port}",
            metrics_url=f"{guarded}://{_reachable(spec.metrics_host)}:{metrics_port}/metrics",
            state="starting",
            log=str(self._files.log),
        )
        self._launch()
        self._board.publish()

    async def watch(self) -> None:
        """Keep the board right about Envoy, and Envoy right about keys and limits.

        When it dies it is started again on the same port.
        """
        while True:
            self.notice_death()
            if self._due_s is not None and asyncio.get_running_loop().time() >= self._due_s:
                self._launch()
            self._hand_out_keys()
            known = await self._membership() if self.is_running() else None
            if known is not None and self.is_running():
                self._note(known)
                await self._limit_admission()
            gateway = self._board.gateway
            settled = gateway is not None and gateway.state == "ready"
            await asyncio.sleep(PERIOD_S if settled else STARTING_PERIOD_S)

    async def caught_up(self) -> None:
        """Wait until Envoy has read which replicas are ready: it sends to no others from then."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FORGET_TIMEOUT_S
        while self.is_running() and loop.time() < deadline:
            known = await self._membership()
            if known is not None and known.total == len(self._board.ids("ready")):
                return
            await asyncio.sleep(0.05)

    async def drain(self) -> None:
        """Wait until Envoy has read that there are no replicas."""
        self._board.update_gateway(state="draining", detail=None)
        await self.caught_up()

    def notice_death(self) -> None:
        """When it has ended unasked: say why, and start it again while its budget lasts."""
        code = self._child.exit_code() if self._child else None
        if code is None or self._child is None or self._death_noted:
            return
        self._death_noted = True
        log_tail = "\n".join(tail(self._files.log, REASON_LINES, self._child.log_start))
        detail = death_reason(code, log_tail)
        now_s = asyncio.get_running_loop().time()
        delay_s = self._budget.crashed(now_s) if self._served else None
        if self._served:
            detail += "; given up" if delay_s is None else f"; restart in {delay_s:g} s"
        self._due_s = None if delay_s is None else now_s + _at_once(self._budget, delay_s)
        self._board.update_gateway(state="failed", detail=detail, pid=None)

    def is_running(self) -> bool:
        """Whether Envoy runs."""
        return self._child is not None and self._child.exit_code() is None

    def terminate(self) -> None:
        """End it: Envoy does so at once."""
        if self._child and self.is_running():
            self._child.terminate()

    def mark_stopped(self) -> None:
        """It ended as asked, or it had failed before and stays so."""
        self._files.admin.unlink(missing_ok=True)
        self._files.keys.unlink(missing_ok=True)
        if self._board.gateway and self._board.gateway.state != "failed":
            self._board.update_gateway(state="stopped", detail=None, pid=None)

    def _launch(self) -> None:
        self._due_s, self._limit, self._death_noted = None, 0, False
        self._files.admin.unlink(missing_ok=True)
        argv = envoy_argv(self._files, workers(len(os.sched_getaffinity(0))))
        self._child = Child(argv, {}, self._files.log, folder=self._files.folder)
        self._board.update_gateway(state="starting", restarts=self._budget.total)

    def _hand_out_keys(self) -> None:
        """Tell Envoy which keys are valid now. A file that is wrong now changes nothing."""
        path = self._spec.keys_file
        if path is None:
            return
        now = datetime.now(UTC)
        try:
            keys = [key for key in read_keys(path) if key.is_valid(now)]
            seen = (path.stat().st_mtime, len(keys))
            if seen != self._keys_seen:
                self._keys_version += 1
                write_valid(self._files.keys, keys, self._keys_version)
                self._keys_seen = seen
        except (HeadraceError, OSError) as error:
            self._board.update_gateway(detail=str(error))

    async def _limit_admission(self) -> None:
        """The limit is per replica; Envoy's is for all of them."""
        each = self._spec.in_flight_per_replica
        limit = each * max(1, len(self._board.ids("ready"))) if each else 0
        if limit != self._limit:
            answer = await self._ask("POST", f"/runtime_modify?{LIMIT_KEY}={limit}")
            if answer is not None and answer.status == 200:
                self._limit = limit

    async def _membership(self) -> Membership | None:
        answer = await self._ask("GET", STATS_PATH)
        if answer is None or answer.status != 200:
            return None
        return parse_membership(answer.body.decode())

    async def _ask(self, method: str, path: str) -> Answer | None:
        url, socket_file = f"http://admin{path}", self._files.admin
        return await request(method, url, ADMIN_TIMEOUT_S, socket_file=socket_file)

    def _note(self, known: Membership) -> None:
        """Ready when none is starting any more and it sends to all that are ready."""
        gateway = self._board.gateway
        ready = len(self._board.ids("ready"))
        if gateway is None:
            return
        settled = self._served or not self._board.ids("starting")
        complete = known.healthy == known.total == ready > 0 and settled
        if complete:
            self._served = True
            self._budget.ready(asyncio.get_running_loop().time())
        self._board.update_gateway(
            state="ready" if complete else gateway.state,
            detail=f"{known.healthy} of {known.total} replicas healthy",
            pid=self._child.pid if self._child else None,
        )


def _at_once(budget: CrashBudget, delay_s: float) -> float:
    """The first restart does not wait: every moment without a gateway refuses requests."""
    return 0.0 if budget.crashes == 1 else delay_s


def _reachable(host: str) -> str:
    """The address that a client on this machine uses."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
