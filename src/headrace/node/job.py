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


class NodeJob(_Part):
    """Everything that one machine runs for a fleet. `node` is its name in the deployment."""

    fleet: str
    run_dir: Path
    node: str
    processes: list[ProcessSpec]
    gateway: GatewaySpec | None
    start_timeout_s: float
    drain_timeout_s: float
