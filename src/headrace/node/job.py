"""What the node agent is asked to run: processes, the replicas they serve, and a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

EngineKind = Literal["vllm", "simulated"]
GatewayPolicy = Literal["round-robin", "least-request", "affinity", "prefix-affinity", "none"]


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
    `env` is added to the agent's environment and is recorded: no secrets in it. `cpus`: the cores
    that it may use; empty: all.
    """

    name: str
    engine: EngineKind
    argv: list[str]
    env: dict[str, str]
    log: Path
    replicas: list[ReplicaSpec]
    cpus: list[int] = []


class Tls(_Part):
    """A server's certificate and key (PEM files); with `client_ca`, clients need one as well."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class GatewaySpec(_Part):
    """Envoy in front of the replicas. Port 0 lets the agent pick a free one.

    `keys_file` lists the API keys (`headrace.gateway.keys`); the gateway asks for one then.
    `in_flight_per_replica`: what is above that is answered 429 at once, with `retry_after_s`.
    A request must be whole within `receive_timeout_s`, its head within `head_timeout_s`.
    `access_log_share` of the requests are logged. `metrics_port` serves Prometheus at /metrics.
    """

    policy: GatewayPolicy
    host: str = "127.0.0.1"
    port: int = 0
    keys_file: Path | None = None
    tls: Tls | None = None
    in_flight_per_replica: int | None = Field(None, ge=1)
    retry_after_s: int = 1
    max_body_bytes: int = 32 * 1024 * 1024
    head_timeout_s: float = 10.0
    receive_timeout_s: float = 60.0
    access_log_share: float = Field(0.0, ge=0.0, le=1.0)
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0


class RestartSpec(_Part):
    """What follows on a crash: a restart after `backoff_s`, twice that the next time, and so on.

    After more than `crashes` in a row it is given up; `stable_s` of service make it a new row. A
    process that never served is not restarted: its fleet did not start, and is told why.
    """

    crashes: int = 5
    backoff_s: float = 0.5
    backoff_most_s: float = 30.0
    stable_s: float = 60.0


class HealthSpec(_Part):
    """A replica is taken out after `fail_after` bad checks in a row, and ended after `kill_after`.

    A busy engine answers late; one that takes longer than `timeout_s`, again and again, hangs. Its
    end lets the gateway ask others for what it had not begun to answer.
    """

    period_s: float = 1.0
    timeout_s: float = 5.0
    fail_after: int = 3
    kill_after: int = 5


class StartSpec(_Part):
    """`at_once` processes load at a time (None: all), and begin no closer than `gap_s`.

    `warm` are files that are read into the page cache meanwhile.
    """

    at_once: int | None = None
    gap_s: float = 0.0
    warm: list[Path] = []


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
    restart: RestartSpec = RestartSpec()
    health: HealthSpec = HealthSpec()
    start: StartSpec = StartSpec()
    log_max_bytes: int = 64 * 1024 * 1024
    coordinator: CoordinatorSpec | None = None
    link: Link | None = None

    @property
    def replica_count(self) -> int:
        """Replicas that its gateway may know, those of other machines included."""
        nodes = self.coordinator.nodes if self.coordinator else []
        own = sum(len(process.replicas) for process in self.processes)
        return own + sum(len(node.replicas) for node in nodes)

    @property
    def engine(self) -> EngineKind:
        """What runs on the replicas."""
        return self.coordinator.engine if self.coordinator else self.processes[0].engine
