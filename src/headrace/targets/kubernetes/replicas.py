"""The replicas as objects: Deployments of pods, or groups of pods that form one replica."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headrace.targets.kubernetes.objects import (
    EXTERNAL,
    PLANNED_LOAD,
    TRACK,
    Manifest,
    Object,
    new,
    selector,
)
from headrace.targets.kubernetes.pods import pod, server, template
from headrace.targets.kubernetes.shape import Shape

KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
MASTER_PORT = 29500
POD = "spec.template.spec"


def replicas(shape: Shape) -> list[Manifest]:
    """Everything that holds GPUs."""
    if shape.target.layout == "leader-worker":
        return [leader_worker(shape)]
    if shape.target.prefill_replicas:
        return _disaggregated(shape)
    found = [_deployment(shape, shape.name, shape.pods, "stable")]
    canary = shape.target.canary
    if canary.image:
        name = f"{shape.name}-canary"
        found.append(_deployment(shape, name, canary.replicas, "canary", canary.image))
    return found


def _deployment(
    shape: Shape, name: str, pods: int, track: str, image: str | None = None
) -> Manifest:
    spec: Object = {
        "replicas": pods,
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": shape.startup_budget_s + 600,
        "minReadySeconds": 10,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 0, "maxUnavailable": min(shape.unavailable, pods)},
        },
        "selector": {"matchLabels": selector(shape, "replica", **{TRACK: track})},
        "template": pod(shape, track, image=image),
    }
    if shape.target.autoscale.kind != "none" and track == "stable":
        del spec["replicas"]
    made = new(shape, "apps/v1", "Deployment", name, "replica", {"spec": spec})
    made["metadata"]["labels"][TRACK] = track
    return Manifest(_planned(shape, made), _what(shape, track), _notes(shape, spec))


def _planned(shape: Shape, made: Object) -> Object:
    """What the plan knows: for `headrace check`, and for Kueue."""
    annotations = {PLANNED_LOAD: str(shape.planned_load_s)}
    if shape.target.storage.kind == "existing":
        annotations[EXTERNAL] = f"PersistentVolumeClaim/{shape.target.storage.claim}"
    made["metadata"]["annotations"] = annotations
    if shape.target.kueue_queue:
        made["metadata"]["labels"][KUEUE_QUEUE] = shape.target.kueue_queue
    return made


def _what(shape: Shape, track: str) -> str:
    layout = {
        "replica-pods": f"one pod per replica with {shape.tensor_parallel} GPU(s)",
        "node-pods": f"one pod per node, {shape.servers_per_pod} servers in it",
        "node-dp": f"one pod per node, one server over {shape.gpus_per_server} GPUs",
    }.get(shape.target.layout, "")
    which = {"stable": "The replicas", "canary": "The canary"}.get(track, f"{track} replicas")
    return f"{which} of {shape.model} on {shape.gpu}: {layout}."


def _notes(shape: Shape, spec: Object) -> dict[str, str]:
    container = f"{POD}.containers.0"
    notes = {
        "spec.strategy.rollingUpdate.maxSurge": "no GPU is spare for a surge",
        "spec.progressDeadlineSeconds": "startup budget + 10 minutes to be scheduled and pulled",
        f"{POD}.enableServiceLinks": "a Service named vllm would set VLLM_PORT",
        f"{POD}.terminationGracePeriodSeconds": (
            f"preStop {shape.target.pre_stop_s} + shutdown timeout {shape.drain_s} + 15"
        ),
        f"{container}.startupProbe": (
            f"{shape.startup_budget_s} s; planned to load in {shape.planned_load_s} s"
        ),
        f"{container}.lifecycle": "until the gateway has seen that this pod leaves",
        f"{container}.resources.limits": "no CPU limit: idle cores may be used",
    }
    if "replicas" not in spec:
        notes["spec.strategy"] = "no replicas here: the autoscaler sets them"
    return notes


def _disaggregated(shape: Shape) -> list[Manifest]:
    """Experimental: some replicas prefill, the others decode."""
    prefill = shape.target.prefill_replicas
    decode = shape.pods - prefill
    text = "\nExperimental, never tried: needs a router that sends a request to both (see README)."
    made = [
        _deployment(shape, f"{shape.name}-prefill", prefill, "prefill"),
        _deployment(shape, shape.name, decode, "decode"),
    ]
    return [replace(manifest, text=manifest.text + text) for manifest in made]


def leader_worker(shape: Shape) -> Manifest:
    """A group of pods per replica: a leader that answers, and workers that compute with it."""
    size = shape.target.nodes_per_replica
    leader = template(shape, "stable", [server(shape, 0, extra=_rank(shape, leads=True))])
    worker = template(
        shape, "worker", [server(shape, 0, extra=_rank(shape, leads=False), serves=False)]
    )
    spec: Object = {
        "replicas": shape.pods,
        "startupPolicy": "LeaderCreated",
        "rolloutStrategy": {
            "type": "RollingUpdate",
            "rollingUpdateConfiguration": {"maxSurge": 0, "maxUnavailable": shape.unavailable},
        },
        "leaderWorkerTemplate": {
            "size": size,
            "restartPolicy": "RecreateGroupOnPodRestart",
            "leaderTemplate": leader,
            "workerTemplate": worker,
        },
    }
    made = new(
        shape,
        "leaderworkerset.x-k8s.io/v1",
        "LeaderWorkerSet",
        shape.name,
        "replica",
        {"spec": spec},
    )
    text = (
        f"Each replica of {shape.model} spans {size} nodes of {shape.gpus_per_node} {shape.gpu}.\n"
        "Needs the LeaderWorkerSet controller. The plan knows replicas within a node only, so that "
        "its prediction does not hold here."
    )
    notes = {
        "spec.leaderWorkerTemplate.restartPolicy": "one lost pod loses the replica",
    }
    return Manifest(_planned(shape, made), text, notes)


def _rank(shape: Shape, *, leads: bool) -> dict[str, Any]:
    """LeaderWorkerSet sets these variables in every pod; Kubernetes puts them into the command."""
    rank: dict[str, Any] = {
        "pipeline_parallel_size": shape.target.nodes_per_replica,
        "nnodes": shape.target.nodes_per_replica,
        "node_rank": "$(LWS_WORKER_INDEX)",
        "master_addr": "$(LWS_LEADER_ADDRESS)",
        "master_port": MASTER_PORT,
    }
    return rank if leads else rank | {"headless": True}
