"""The fleet's state as the agent knows it, and the files that tell others."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.files import replace_file
from headrace.gateway.endpoints import write_endpoints
from headrace.node.identity import start_ticks
from headrace.node.job import NodeJob
from headrace.targets.deployment import Deployment, GatewayState, Replica, ReplicaState

SETTLE_S = 0.05
"""Changes that come together are written together."""


class Board:
    """Every replica's state. What changes is published: deployment.json and Envoy's endpoints."""

    def __init__(self, job: NodeJob, endpoints: Path | None) -> None:
        self.replicas: dict[str, Replica] = {
            spec.id: Replica(
                id=spec.id,
                node=job.node,
                url=spec.url,
                state="starting",
                gpus=spec.gpus,
                log=str(process.log),
            )
            for process in job.processes
            for spec in process.replicas
        }
        self.gateway: GatewayState | None = None
        self._job = job
        self._endpoints = endpoints
        self._routed: list[tuple[str, str]] | None = None
        self._version = 0
        self._changed = asyncio.Event()
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")

    def update(self, replica_id: str, **changes: Any) -> None:
        """Change fields of one replica; nothing is written when they are so already."""
        old = self.replicas[replica_id]
        new = old.model_copy(update=changes)
        if new != old:
            self.replicas[replica_id] = new
            self._changed.set()

    def update_gateway(self, **changes: Any) -> None:
        """Change fields of the gateway."""
        if self.gateway is None:
            return
        new = self.gateway.model_copy(update=changes)
        if new != self.gateway:
            self.gateway = new
            self._changed.set()

    def ids(self, *states: ReplicaState) -> list[str]:
        """The replicas in one of these states."""
        return [r.id for r in self.replicas.values() if r.state in states]

    def deployment(self) -> Deployment:
        """The document that others read."""
        return Deployment(
            fleet=self._job.fleet,
            engine=self._job.processes[0].engine,
            run_dir=str(self._job.run_dir),
            agent_pid=os.getpid(),
            agent_start_ticks=start_ticks(os.getpid()),
            started_at=self._started_at,
            replicas=list(self.replicas.values()),
            gateway=self.gateway,
        )

    def publish(self) -> None:
        """Write the endpoints first: who reads of a ready replica may send to the gateway."""
        self._changed.clear()
        ready = [(r.id, r.url) for r in self.replicas.values() if r.state == "ready"]
        if self._endpoints is not None and ready != self._routed:
            self._version += 1
            write_endpoints(self._endpoints, ready, self._version)
            self._routed = ready
        text = self.deployment().model_dump_json(indent=2) + "\n"
        replace_file(self._job.run_dir / "deployment.json", text)

    async def keep_publishing(self) -> None:
        """Publish at every change, until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(SETTLE_S)
            self.publish()
