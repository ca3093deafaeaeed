"""What runs: `deployment.json`, rewritten whole by the agent at every change of state."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from headrace.node.job import EngineKind

ReplicaState = Literal["starting", "ready", "draining", "failed", "stopped"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Replica(_Part):
    """One replica as it is now. `detail` says in words what it is doing, or why it died."""

    id: str
    node: str
    url: str
    state: ReplicaState
    gpus: list[int] = []
    pid: int | None = None
    log: str | None = None
    detail: str | None = None


class GatewayState(_Part):
    """Envoy as it is now."""

    url: str
    admin_url: str
    state: ReplicaState
    pid: int | None = None
    log: str | None = None
    detail: str | None = None


class Deployment(_Part):
    """A fleet that was started. `agent_pid` is its node agent; it is the one who writes this.

    `agent_start_ticks` (since boot) tells the agent from a later process with its pid.
    """

    fleet: str
    engine: EngineKind
    run_dir: str
    agent_pid: int
    agent_start_ticks: int | None = None
    started_at: str
    replicas: list[Replica]
    gateway: GatewayState | None

    @property
    def urls(self) -> list[str]:
        """Where clients send requests: the gateway, or every replica when there is none."""
        return [self.gateway.url] if self.gateway else [r.url for r in self.replicas]
