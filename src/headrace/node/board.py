"""The fleet's state as the agent knows it, and the files that tell others."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.files import replace_file
from headrace.gateway.endpoints import write_endpoints
from headrace.node.identity import start_ticks
from headrace.node.job import NodeJob
from headrace.targets.deployment import (
    Deployment,
    GatewayState,
    GpuState,
    NodeState,
    Replica,
    ReplicaState,
    RolloutState,
)

SETTLE_S = 0.05
"""Changes that come together are written together."""
RETRY_S = 1.0


class Board:
    """Every replica's state. What changes is published: deployment.json and Envoy's endpoints.

    A full disk must not take down a fleet that serves: what cannot be written is tried again, and
    Envoy goes on with the endpoints that it has and its own health checks.
    """

    def __init__(self, job: NodeJob, endpoints: Path | None) -> None:
        self.replicas: dict[str, Replica] = {r.id: r for r in _at_start(job)}
        self.gateway: GatewayState | None = None
        self.nodes: dict[str, NodeState] = {}
        self.rollout: RolloutState | None = None
        self.gpus: dict[str, list[GpuState]] = {}
        self.on_publish: Callable[[], None] | None = None
        self._job = job
        self._endpoints = endpoints
        self._routed: list[tuple[str, str]] | None = None
        self._version = 0
        self._changed = asyncio.Event()
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._complained = False

    def update(self, replica_id: str, **changes: Any) -> None:
        """Change fields of one replica; nothing is written when they are so already."""
        self.put(self.replicas[replica_id].model_copy(update=changes))

    def put(self, replica: Replica) -> None:
        """Replace one replica's state."""
        if replica != self.replicas.get(replica.id):
            self.replicas[replica.id] = replica
            self._changed.set()

    def update_gateway(self, **changes: Any) -> None:
        """Change fields of the gateway."""
        if self.gateway is None:
            return
        new = self.gateway.model_copy(update=changes)
        if new != self.gateway:
            self.gateway = new
            self._changed.set()

    def put_node(self, node: NodeState) -> None:
        """Replace what is known of a machine."""
        if node != self.nodes.get(node.name):
            self.nodes[node.name] = node
            self._changed.set()

    def put_gpus(self, node: str, gpus: list[GpuState]) -> None:
        """Replace what is known of a machine's GPUs."""
        if gpus != self.gpus.get(node, []):
            self.gpus[node] = gpus
            self._changed.set()

    def set_rollout(self, rollout: RolloutState | None) -> None:
        """Replace how far the rollout is."""
        if rollout != self.rollout:
            self.rollout = rollout
            self._changed.set()

    def ids(self, *states: ReplicaState) -> list[str]:
        """The replicas in one of these states."""
        return [r.id for r in self.replicas.values() if r.state in states]

    def deployment(self) -> Deployment:
        """The document that others read."""
        return Deployment(
            fleet=self._job.fleet,
            engine=self._job.engine,
            run_dir=str(self._job.run_dir),
            agent_pid=os.getpid(),
            agent_start_ticks=start_ticks(os.getpid()),
            started_at=self._started_at,
            replicas=list(self.replicas.values()),
            gateway=self.gateway,
            nodes=list(self.nodes.values()),
            gpus=[gpu for gpus in self.gpus.values() for gpu in gpus],
            rollout=self.rollout,
        )

    def publish(self) -> bool:
        """Write the endpoints first: who reads of a ready replica may send to the gateway.

        False when the disk did not take it; it has been said in the agent's log then, once.
        """
        self._changed.clear()
        if self.on_publish:
            self.on_publish()
        try:
            self._write()
        except OSError as error:
            self._complain(error)
            return False
        self._complained = False
        return True

    async def keep_publishing(self) -> None:
        """Publish at every change, until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(SETTLE_S)
            while not self.publish():
                await asyncio.sleep(RETRY_S)

    def _write(self) -> None:
        ready = [(r.id, r.url) for r in self.replicas.values() if r.state == "ready"]
        if self._endpoints is not None and ready != self._routed:
            write_endpoints(self._endpoints, ready, self._version + 1)
            self._version += 1
            self._routed = ready
        text = self.deployment().model_dump_json(indent=2) + "\n"
        replace_file(self._job.run_dir / "deployment.json", text)

    def _complain(self, error: OSError) -> None:
        """Where the agent's log is; on the same disk, so that may fail as well."""
        if not self._complained:
            self._complained = True
            with contextlib.suppress(OSError):
                os.write(2, f"cannot write the fleet's state, will try again: {error}\n".encode())


def _at_start(job: NodeJob) -> list[Replica]:
    own = [
        Replica(
            id=spec.id,
            node=job.node,
            url=spec.url,
            state="starting",
            gpus=spec.gpus,
            log=str(process.log),
        )
        for process in job.processes
        for spec in process.replicas
    ]
    others = job.coordinator.nodes if job.coordinator else []
    waiting = "waiting for its node to register"
    return own + [
        Replica(id=name, node=node.name, url="", state="starting", detail=waiting)
        for node in others
        for name in node.replicas
    ]
