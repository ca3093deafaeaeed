"""Disruption budgets, and the autoscaler where the target asks for one."""

from __future__ import annotations

from headrace.monitoring.metrics import WAITING
from headrace.monitoring.queries import total
from headrace.targets.kubernetes.objects import Manifest, Object, new, selector
from headrace.targets.kubernetes.shape import Shape

SCALE_DOWN_S = 600
"""A replica loads for minutes: it is not given up for a short lull."""


def budget(shape: Shape) -> Manifest:
    """How many pods a drained node may take at once: those of one node."""
    spec = {
        "maxUnavailable": min(shape.pods_per_node, shape.pods),
        "selector": {"matchLabels": selector(shape, "replica")},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    made = new(shape, "policy/v1", "PodDisruptionBudget", shape.name, "replica", {"spec": spec})
    notes = {
        "spec.maxUnavailable": "the pods of one node",
        "spec.unhealthyPodEvictionPolicy": "a replica that hangs does not block a drain",
    }
    return Manifest(made, "Node drains take one node's replicas at a time.", notes)


def autoscaler(shape: Shape) -> list[Manifest]:
    """Follows the requests that wait, by vLLM's present metric names."""
    kind = shape.target.autoscale.kind
    if kind == "none":
        return []
    return [_keda(shape) if kind == "keda" else _hpa(shape)]


def _bounds(shape: Shape) -> tuple[int, int]:
    asked = shape.target.autoscale
    low = asked.min_replicas or shape.pods
    return low, asked.max_replicas or 2 * low


def _behavior() -> Object:
    return {
        "scaleUp": {"stabilizationWindowSeconds": 0},
        "scaleDown": {
            "stabilizationWindowSeconds": SCALE_DOWN_S,
            "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}],
        },
    }


def _target(shape: Shape) -> Object:
    if shape.target.layout == "leader-worker":
        api, kind = "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"
    else:
        api, kind = "apps/v1", "Deployment"
    return {"apiVersion": api, "kind": kind, "name": shape.name}


def _hpa(shape: Shape) -> Manifest:
    low, high = _bounds(shape)
    metric = {
        "type": "Pods",
        "pods": {
            "metric": {"name": WAITING.name},
            "target": {
                "type": "AverageValue",
                "averageValue": str(shape.target.autoscale.waiting_per_replica),
            },
        },
    }
    spec = {
        "scaleTargetRef": _target(shape),
        "minReplicas": low,
        "maxReplicas": high,
        "metrics": [metric],
        "behavior": _behavior(),
    }
    made = new(
        shape, "autoscaling/v2", "HorizontalPodAutoscaler", shape.name, "replica", {"spec": spec}
    )
    text = (
        f"Adds replicas while requests wait. Needs a custom-metrics adapter that serves "
        f"{WAITING.name} per pod under this name."
    )
    return Manifest(made, text)


def _keda(shape: Shape) -> Manifest:
    low, high = _bounds(shape)
    asked = shape.target.autoscale
    labels = {"namespace": shape.namespace, "model_name": shape.model}
    trigger = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": asked.prometheus_url,
            "query": total(WAITING, labels),
            "threshold": str(asked.waiting_per_replica),
        },
    }
    spec = {
        "scaleTargetRef": _target(shape),
        "minReplicaCount": low,
        "maxReplicaCount": high,
        "pollingInterval": 15,
        "fallback": {"failureThreshold": 3, "replicas": low},
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior()}},
        "triggers": [trigger],
    }
    made = new(shape, "keda.sh/v1alpha1", "ScaledObject", shape.name, "replica", {"spec": spec})
    text = (
        "KEDA adds replicas while requests wait; without Prometheus it keeps the smallest number."
    )
    return Manifest(made, text)
