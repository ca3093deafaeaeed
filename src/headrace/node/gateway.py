"""The agent's gateway: an Envoy that knows the ready replicas."""

from __future__ import annotations

import asyncio
import os

from headrace.errors import HeadraceError
from headrace.gateway.config import GatewayConfig
from headrace.gateway.process import (
    STATS_PATH,
    GatewayFiles,
    Membership,
    death_reason,
    envoy_argv,
    parse_membership,
    workers,
    write_config,
)
from headrace.node.board import Board
from headrace.node.child import Child
from headrace.node.http import get
from headrace.node.job import GatewaySpec, NodeJob
from headrace.node.log import tail
from headrace.node.ports import free_port
from headrace.targets.deployment import GatewayState

STARTING_PERIOD_S = 0.1
PERIOD_S = 1.0
FORGET_TIMEOUT_S = 2.0
ADMIN_TIMEOUT_S = 2.0
REASON_LINES = 50


class Gateway:
    """Runs Envoy for a job; `ready` once it sends requests to every ready replica."""

    def __init__(self, job: NodeJob, files: GatewayFiles, board: Board) -> None:
        if job.gateway is None:
            raise ValueError("the job has no gateway")
        self._spec: GatewaySpec = job.gateway
        self._name = job.fleet
        self._files = files
        self._board = board
        self._child: Child | None = None
        self._admin_url = ""

    def start(self) -> None:
        """Start Envoy. The endpoint file, empty perhaps, must have been published."""
        spec = self._spec
        if spec.policy == "none":
            raise HeadraceError("a gateway was asked for, with the policy none")
        port = spec.port or free_port(spec.host)
        admin_port = free_port("127.0.0.1", {port})
        self._admin_url = f"http://127.0.0.1:{admin_port}"
        config = GatewayConfig(
            self._name, spec.policy, spec.host, port, admin_port, self._files.endpoints
        )
        write_config(self._files, config)
        argv = envoy_argv(self._files, workers(len(os.sched_getaffinity(0))))
        self._child = Child(argv, {}, self._files.log)
        self._board.gateway = GatewayState(
            url=f"http://{_reachable(spec.host)}:{port}",
            admin_url=self._admin_url,
            state="starting",
            log=str(self._files.log),
        )
        self._board.publish()

    async def watch(self) -> None:
        """Keep the board right about Envoy while it runs."""
        while self.is_running():
            known = await self._membership()
            if known is not None and self.is_running():
                self._note(known)
            gateway = self._board.gateway
            settled = gateway is not None and gateway.state == "ready"
            await asyncio.sleep(PERIOD_S if settled else STARTING_PERIOD_S)
        self.notice_death()

    async def forget_replicas(self) -> None:
        """Wait until Envoy has read that there are no replicas: from then on it sends nothing."""
        self._board.update_gateway(state="draining", detail=None)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FORGET_TIMEOUT_S
        while self.is_running() and loop.time() < deadline:
            known = await self._membership()
            if known is not None and known.total == 0:
                return
            await asyncio.sleep(0.05)

    def notice_death(self) -> None:
        """Mark it as failed when it has ended unasked."""
        code = self._child.exit_code() if self._child else None
        if code is None or self._child is None:
            return
        log_tail = "\n".join(tail(self._files.log, REASON_LINES, self._child.log_start))
        self._board.update_gateway(state="failed", detail=death_reason(code, log_tail), pid=None)

    def is_running(self) -> bool:
        """Whether Envoy runs."""
        return self._child is not None and self._child.exit_code() is None

    def terminate(self) -> None:
        """End it: Envoy does so at once."""
        if self._child and self.is_running():
            self._child.terminate()

    def mark_stopped(self) -> None:
        """It ended as asked, or it had failed before and stays so."""
        if self._board.gateway and self._board.gateway.state != "failed":
            self._board.update_gateway(state="stopped", detail=None, pid=None)

    async def _membership(self) -> Membership | None:
        answer = await get(self._admin_url + STATS_PATH, ADMIN_TIMEOUT_S)
        if answer is None or answer.status != 200:
            return None
        return parse_membership(answer.body.decode())

    def _note(self, known: Membership) -> None:
        """Ready when none is starting any more and it sends to all that are ready."""
        gateway = self._board.gateway
        ready = len(self._board.ids("ready"))
        complete = known.healthy == known.total == ready > 0 and not self._board.ids("starting")
        if gateway is None:
            return
        self._board.update_gateway(
            state="ready" if complete else gateway.state,
            detail=f"{known.healthy} of {known.total} replicas healthy",
            pid=self._child.pid if self._child else None,
        )


def _reachable(host: str) -> str:
    """The address that a client on this machine uses."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
