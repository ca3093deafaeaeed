"""A fleet on a cluster as it is now: what `up` and `status` show."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from headrace.targets.deployment import Replica, ReplicaState
from headrace.targets.kubernetes.live.api import Api
from headrace.targets.kubernetes.live.kinds import DEPLOYMENT, POD
from headrace.targets.kubernetes.live.pods import replica
from headrace.targets.kubernetes.objects import COMPONENT, INSTANCE
from headrace.targets.kubernetes.shape import Shape


class Entry(BaseModel):
    """Where clients inside the cluster send requests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    state: ReplicaState


class ClusterState(BaseModel):
    """The fleet's pods and its entry. `wanted` is how many pods there should be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fleet: str
    target: Literal["kubernetes"] = "kubernetes"
    namespace: str
    wanted: int
    replicas: list[Replica]
    gateway: Entry | None


def pod_selector(shape: Shape) -> str:
    """The labels of a fleet's replicas."""
    return f"{INSTANCE}={shape.name},{COMPONENT}=replica"


def wanted_pods(shape: Shape) -> int:
    """Pods of all tracks; of a LeaderWorkerSet those of every group."""
    if shape.target.layout == "leader-worker":
        return shape.pods * shape.target.nodes_per_replica
    return shape.pods + (shape.target.canary.replicas if shape.target.canary.image else 0)


def entry_url(shape: Shape) -> str:
    """The URL of the fleet inside the cluster."""
    if shape.target.data_plane == "envoy":
        return f"http://{shape.name}-gateway.{shape.namespace}"
    return f"http://{shape.name}.{shape.namespace}:8000"


def read_state(api: Api, shape: Shape) -> ClusterState:
    """Ask the cluster. A fleet that is not there has no replicas."""
    pods, _ = api.list(POD, shape.namespace, pod_selector(shape))
    return state_of(shape, [replica(pod) for pod in pods], _entry(api, shape))


def state_of(shape: Shape, replicas: list[Replica], entry: Entry | None) -> ClusterState:
    """The state of these replicas, in the order of their names."""
    return ClusterState(
        fleet=shape.name,
        namespace=shape.namespace,
        wanted=wanted_pods(shape),
        replicas=sorted(replicas, key=lambda one: one.id),
        gateway=entry,
    )


def _entry(api: Api, shape: Shape) -> Entry | None:
    if shape.target.data_plane != "envoy":
        return Entry(url=entry_url(shape), state="ready")
    found = api.get(DEPLOYMENT, shape.namespace, f"{shape.name}-gateway")
    if found is None:
        return None
    ready = (found.get("status") or {}).get("readyReplicas") or 0
    return Entry(url=entry_url(shape), state="ready" if ready else "starting")
