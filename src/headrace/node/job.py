"""What the node agent is asked to run: processes, the replicas they serve, and a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

EngineKind = Literal["vllm", "simulated"]
GatewayPolicy = Literal["round-robin", "least-request", "affinity", "none"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReplicaSpec(_Part):
    """One OpenAI-compatible server: `id` is r0, r1, ...; `url` is http://host:port."""

    id: str
    url: str
    gpus: list[int]


class ProcessSpec(_Part):
    """One child process, and the replicas that live in it.

    vLLM has a process per replica; the simulated engine hosts all replicas of a node in one.
    `env` is added to the agent's environment and is recorded: no secrets in it.
    """

    name: str
    engine: EngineKind
    argv: list[str]
    env: dict[str, str]
    log: Path
    replicas: list[ReplicaSpec]


class GatewaySpec(_Part):
    """Envoy in front of the replicas. Port 0 lets the agent pick a free one."""

    policy: GatewayPolicy
    host: str = "127.0.0.1"
    port: int = 0


class Link(_Part):
    """Where an agent reports. The token is `$HEADRACE_NODE_TOKEN`, else what `token_file` holds.

    `ca_file` is the authority that signed an https coordinator's certificate. An agent that gets
    no answer for `orphan_s` drains and ends: its fleet has no owner any more.
    """

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    period_s: float = 1.0
    orphan_s: float = 30.0


class ExpectedNode(_Part):
    """A machine that will register, and the ids of the replicas that it brings."""

    name: str
    replicas: list[str]


class PlacerSpec(_Part):
    """The program that starts the agents on their machines (`headrace.node.placer`)."""

    argv: list[str]
    log: Path


class CoordinatorSpec(_Part):
    """The head of a fleet on several machines: the agents of `nodes` report to it.

    Beyond loopback the port is as safe as its token: give it a certificate where the network
    between the machines is not trusted. A node is lost after `lease_s` without a report.
    """

    engine: EngineKind
    nodes: list[ExpectedNode]
    token_file: Path
    host: str = "127.0.0.1"
    port: int = 0
    certificate: Path | None = None
    key: Path | None = None
    lease_s: float = 5.0
    placer: PlacerSpec | None = None
    """None: somebody else starts the agents."""


class NodeJob(_Part):
    """Everything that one machine runs for a fleet. `node` is its name in the deployment.

    With a `coordinator`, and usually a gateway but no processes, it is the head of a fleet on
    several machines; with a `link`, one of those machines.
    """

    fleet: str
    run_dir: Path
    node: str
    processes: list[ProcessSpec]
    gateway: GatewaySpec | None
    start_timeout_s: float
    drain_timeout_s: float
    coordinator: CoordinatorSpec | None = None
    link: Link | None = None

    @property
    def engine(self) -> EngineKind:
        """What runs on the replicas."""
        return self.coordinator.engine if self.coordinator else self.processes[0].engine
