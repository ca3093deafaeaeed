"""Objects that name others: routes, autoscalers, configuration, accounts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.targets.kubernetes.check.cluster import Cluster, Workload
from headrace.targets.kubernetes.check.found import Fault, Source, rule


@rule(
    "route-backend",
    why="Requests on the route are answered with 500.",
    fix="name a Service (with its port) or an InferencePool that exists",
)
def route_backend(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("HTTPRoute"):
        for number, rule_ in enumerate(source.spec.get("rules") or []):
            for backend in rule_.get("backendRefs") or []:
                fault = _backend_fault(cluster, source, backend)
                if fault:
                    yield source, f"rule {number}: {fault}"


@rule(
    "route-weights",
    why="Weights are shares of their sum: with a sum of 0 every request fails.",
    fix="give at least one backend a weight above 0",
)
def route_weights(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("HTTPRoute"):
        for number, rule_ in enumerate(source.spec.get("rules") or []):
            weights = [backend.get("weight", 1) for backend in rule_.get("backendRefs") or []]
            if weights and sum(weights) == 0:
                yield source, f"rule {number}: all weights are 0"


@rule(
    "route-parent",
    why="The route is attached to nothing: requests are answered with 404.",
    fix="name a Gateway that exists; one in another namespace needs that namespace",
)
def route_parent(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("HTTPRoute"):
        for parent in source.spec.get("parentRefs") or []:
            here = parent.get("kind", "Gateway") == "Gateway" and "namespace" not in parent
            name = str(parent.get("name"))
            if here and not (
                cluster.find("Gateway", name, source.namespace)
                or cluster.external(source, "Gateway", name)
            ):
                yield source, f"its Gateway {name!r} is not here"


@rule(
    "scale-target",
    why="The autoscaler scales nothing.",
    fix="name a workload that exists",
)
def scale_target(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = source.spec.get("scaleTargetRef") or {}
        kind, name = target.get("kind", "Deployment"), str(target.get("name"))
        if not cluster.find(kind, name, source.namespace):
            yield source, f"its target {kind}/{name} is not here"


@rule(
    "scale-and-replicas",
    why="Every apply sets the replicas back and throws away what the autoscaler did.",
    fix="take spec.replicas out of the workload",
)
def scale_and_replicas(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = source.spec.get("scaleTargetRef") or {}
        kind, name = target.get("kind", "Deployment"), str(target.get("name"))
        found = cluster.find(kind, name, source.namespace)
        if found is not None and "replicas" in found.spec and kind != "LeaderWorkerSet":
            yield found, f"has replicas of its own, and {source.labelled} sets them too"


@rule(
    "scale-bounds",
    why="The API refuses it, or it never scales.",
    fix="set the largest number of replicas above the smallest",
)
def scale_bounds(cluster: Cluster) -> Iterator[Fault]:
    names = {
        "HorizontalPodAutoscaler": ("minReplicas", "maxReplicas"),
        "ScaledObject": ("minReplicaCount", "maxReplicaCount"),
    }
    for source in cluster.of(*names):
        low_name, high_name = names[source.kind]
        low, high = source.spec.get(low_name, 1), source.spec.get(high_name, 100)
        if low > high:
            yield source, f"{low_name} {low} is above {high_name} {high}"


@rule(
    "config-missing",
    why="The pods wait in ContainerCreating for a ConfigMap that nobody makes.",
    fix="add the ConfigMap, mark it optional, or name it in headrace.dev/external",
)
def config_missing(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        for name in sorted(set(_configs(workload))):
            known = cluster.find("ConfigMap", name, workload.source.namespace)
            if not known and not cluster.external(workload.source, "ConfigMap", name):
                yield workload.source, f"uses the ConfigMap {name!r}, which is not here"


@rule(
    "account-missing",
    why="The pods are refused until the ServiceAccount exists.",
    fix="add the ServiceAccount, or take serviceAccountName out",
)
def account_missing(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        name = workload.pod.get("serviceAccountName")
        if name in (None, "default"):
            continue
        known = cluster.find("ServiceAccount", str(name), workload.source.namespace)
        if not known and not cluster.external(workload.source, "ServiceAccount", str(name)):
            yield workload.source, f"runs as the ServiceAccount {name!r}, which is not here"


@rule(
    "picker-missing",
    why="The Gateway cannot ask where a request should go.",
    fix="name the Service of an endpoint picker that exists, and one of its ports",
)
def picker_missing(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("InferencePool"):
        picker = source.spec.get("endpointPickerRef") or {}
        if picker.get("kind", "Service") == "Service" and picker:
            port = (picker.get("port") or {}).get("number")
            fault = _service_fault(cluster, source, str(picker.get("name")), port)
            if fault:
                yield source, f"endpoint picker: {fault}"


def _backend_fault(cluster: Cluster, source: Source, backend: dict[str, Any]) -> str | None:
    kind, name = backend.get("kind", "Service"), str(backend.get("name"))
    if "namespace" in backend or cluster.external(source, kind, name):
        return None
    if kind != "Service":
        known = kind != "InferencePool" or cluster.find(kind, name, source.namespace)
        return None if known else f"the InferencePool {name!r} is not here"
    return _service_fault(cluster, source, name, backend.get("port"))


def _service_fault(cluster: Cluster, source: Source, name: str, port: Any) -> str | None:
    service = cluster.find("Service", name, source.namespace)
    if service is None:
        return f"the Service {name!r} is not here"
    ports = [entry.get("port") for entry in service.spec.get("ports") or []]
    return None if port in ports else f"the Service {name!r} has no port {port}"


def _configs(workload: Workload) -> Iterator[str]:
    for volume in workload.volumes.values():
        config = volume.get("configMap")
        if isinstance(config, dict) and not config.get("optional"):
            yield str(config.get("name"))
    for container in workload.all_containers:
        for source in container.get("envFrom") or []:
            config = source.get("configMapRef")
            if config and not config.get("optional"):
                yield str(config.get("name"))
        for entry in container.get("env") or []:
            config = (entry.get("valueFrom") or {}).get("configMapKeyRef")
            if config and not config.get("optional"):
                yield str(config.get("name"))
