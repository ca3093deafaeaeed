"""What runs: `deployment.json`, rewritten whole by the agent at every change of state."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from headrace.node.job import EngineKind

ReplicaState = Literal["starting", "ready", "draining", "failed", "stopped"]
NodeStage = Literal["expected", "live", "lost", "ended"]
RolloutStage = Literal["rolling", "done", "returning", "returned"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Replica(_Part):
    """One replica as it is now. `detail` says in words what it is doing, or why it died.

    `restarts` counts the crashes that were answered with a restart; `generation` is that of the
    plan which it runs.
    """

    id: str
    node: str
    url: str
    state: ReplicaState
    gpus: list[int] = []
    pid: int | None = None
    log: str | None = None
    detail: str | None = None
    restarts: int = 0
    generation: int = 1


class StandbyState(_Part):
    """The Envoy that listens on the gateway's port as well, and serves when the other one dies."""

    state: ReplicaState
    pid: int | None = None
    log: str | None = None
    detail: str | None = None


class GatewayState(_Part):
    """The gateway as it is now. `metrics_url` is what Prometheus scrapes.

    `pid` and `log` are those of the Envoy that serves; `restarts` counts those of both.
    """

    url: str
    metrics_url: str
    state: ReplicaState
    pid: int | None = None
    log: str | None = None
    detail: str | None = None
    restarts: int = 0
    standby: StandbyState | None = None


class NodeState(_Part):
    """One machine of a fleet that spans several. `gateway` is its own, where it has one.

    expected: its agent has not registered; lost: no report for longer than the lease.
    """

    name: str
    state: NodeStage
    host: str | None = None
    agent_pid: int | None = None
    gateway: GatewayState | None = None
    detail: str | None = None


class RolloutState(_Part):
    """How far a rollout is. `returned`: a replica was bad, and all run the earlier plan again."""

    generation: int
    state: RolloutStage
    done: int = 0
    total: int = 0
    detail: str | None = None


class GpuState(_Part):
    """A GPU of a machine as NVML sees it; `trouble` in words, if any.

    `energy_j` and `power_limited_s` count from the driver's start; `read_s` is the machine's clock.
    """

    node: str
    index: int
    name: str
    memory_used_bytes: int
    memory_total_bytes: int
    temperature_c: int
    busy_percent: int
    trouble: str | None = None
    read_s: float = 0.0
    energy_j: float | None = None
    power_limit_w: float | None = None
    power_limited_s: float | None = None
    clock_mhz: int | None = None
    clock_max_mhz: int | None = None


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
    nodes: list[NodeState] = []
    gpus: list[GpuState] = []
    rollout: RolloutState | None = None

    @property
    def entrances(self) -> list[GatewayState]:
        """The gateways that clients send to: the front one, else every node's."""
        if self.gateway:
            return [self.gateway]
        return [node.gateway for node in self.nodes if node.gateway]

    @property
    def urls(self) -> list[str]:
        """Where clients send requests: the gateways, else every replica."""
        return [g.url for g in self.entrances] or [r.url for r in self.replicas]

    @property
    def serves(self) -> bool:
        """Whether all replicas are ready, and the gateways before them."""
        states = [gateway.state for gateway in self.entrances]
        states += [replica.state for replica in self.replicas]
        return all(state == "ready" for state in states)

    @property
    def own_gpus(self) -> list[GpuState]:
        """Those that the replicas serve with; none where replicas are simulated."""
        if self.engine == "simulated":
            return []
        own = {(replica.node, gpu) for replica in self.replicas for gpu in replica.gpus}
        return [gpu for gpu in self.gpus if (gpu.node, gpu.index) in own]
