"""The head of a fleet on several machines: takes the agents' reports, answers with wishes."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headrace.node.job import CoordinatorSpec, ExpectedNode
from headrace.node.pages import Page
from headrace.node.report import NodeReport
from headrace.node.wanted import Wanted
from headrace.targets.deployment import NodeStage, NodeState

MAX_REPORT_BYTES = 4 * 1024 * 1024
LOOK_S = 0.5


@dataclass
class Node:
    """One machine as the head knows it."""

    expected: ExpectedNode
    stage: NodeStage = "expected"
    last: NodeReport | None = None
    heard_s: float = 0.0
    detail: str | None = None

    def state(self) -> NodeState:
        """For the deployment."""
        return NodeState(
            name=self.expected.name,
            state=self.stage,
            host=self.last.host if self.last else None,
            agent_pid=self.last.pid if self.last else None,
            gateway=self.last.gateway if self.last else None,
            detail=self.detail,
        )


class Coordinator:
    """Knows every node. `on_change` is called with a node's name when anything of it changed."""

    def __init__(
        self,
        spec: CoordinatorSpec,
        wish: Callable[[str], Wanted],
        on_change: Callable[[Node], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.nodes = {node.name: Node(node) for node in spec.nodes}
        self._spec = spec
        self._wish = wish
        self._on_change = on_change
        self._clock = clock
        self._token = spec.token_file.read_text(encoding="ascii").strip().encode()
        self._page: Page | None = None

    def open(self) -> str:
        """Listen; returns the URL. OSError when the port is busy."""
        app = Starlette(routes=[Route("/v1/nodes/{node}", self._report, methods=["POST"])])
        self._page = Page(app, self._spec.certificate, self._spec.key)
        return self._page.open(self._spec.host, self._spec.port)

    async def close(self) -> None:
        """Take no more reports."""
        if self._page:
            await self._page.close()

    async def watch(self) -> None:
        """Notice the nodes that have gone silent, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.notice_silence()

    def notice_silence(self) -> None:
        """A node without a report within the lease is lost; one that reports again is back."""
        for node in self.nodes.values():
            silent_s = self._clock() - node.heard_s
            if node.stage == "live" and silent_s > self._spec.lease_s:
                node.stage = "lost"
                node.detail = f"no report for {self._spec.lease_s:g} s"
                self._on_change(node)

    def accept(self, name: str, report: NodeReport) -> int:
        """Take a report; returns the HTTP status that it earns."""
        node = self.nodes.get(name)
        if node is None or {r.id for r in report.replicas} != set(node.expected.replicas):
            return 404
        if node.stage == "live" and node.last and node.last.agent != report.agent:
            return 409
        node.stage, node.heard_s, node.detail = "live", self._clock(), None
        if report.ended:
            node.stage, node.detail = "ended", "its agent has ended"
        if report != node.last or report.ended:
            node.last = report
            self._on_change(node)
        return 200

    @property
    def all_gone(self) -> bool:
        """Whether no node runs anything as far as can be known."""
        return all(node.stage in ("ended", "lost", "expected") for node in self.nodes.values())

    async def _report(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), self._token):
            return JSONResponse({"error": "no or wrong token"}, 401)
        body = await _limited(request)
        if body is None:
            return JSONResponse({"error": "the report is too large"}, 413)
        try:
            report = NodeReport.model_validate_json(body)
        except ValidationError:
            return JSONResponse({"error": "not a report"}, 422)
        name = request.path_params["node"]
        status = self.accept(name, report)
        if status != 200:
            return JSONResponse({"error": "refused"}, status)
        return Response(self._wish(name).model_dump_json(), media_type="application/json")


async def _limited(request: Request) -> bytes | None:
    """The body; None when it is larger than any report."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_REPORT_BYTES:
            return None
    return bytes(body)
