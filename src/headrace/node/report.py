"""What an agent tells its coordinator: the state of one machine, whole, over and over."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from headrace.targets.deployment import GatewayState, GpuState, Replica, RolloutState


class NodeReport(BaseModel):
    """The body of `POST /v1/nodes/NAME`.

    `agent` is drawn at random by every agent that starts, so that two of them that claim one name
    are told apart. `ended`: nothing of the node runs any more, and no report will follow.
    `serial` is that of the wish (`Wanted`) which the replicas already follow.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: str
    host: str
    pid: int
    replicas: list[Replica]
    gateway: GatewayState | None = None
    gpus: list[GpuState] = []
    serial: int = 0
    rollout: RolloutState | None = None
    ended: bool = False
