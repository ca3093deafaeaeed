"""Ports, probes and environment of containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.targets.kubernetes.check.cluster import Cluster, Workload
from headrace.targets.kubernetes.check.found import Fault, rule
from headrace.targets.kubernetes.check.server import servers

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@rule(
    "port-twice",
    why="The API refuses two ports of one name, and only one process can listen on a number.",
    fix="give every port of the pod a name and a number of its own",
)
def port_twice(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        ports = [port for c in workload.containers for port in c.get("ports") or []]
        for key in ("name", "containerPort"):
            values = [
                (port.get(key), port.get("protocol", "TCP")) for port in ports if port.get(key)
            ]
            for value in sorted({str(v[0]) for v in values if values.count(v) > 1}):
                yield workload.source, f"the pod has two ports with {key} {value}"


@rule(
    "env-twice",
    why="The last one wins without a word.",
    fix="take one of them out",
)
def env_twice(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in cluster.containers:
        names = [entry.get("name") for entry in container.get("env") or []]
        for name in sorted({str(name) for name in names if names.count(name) > 1}):
            yield workload.source, f"container {container.get('name')} sets {name} twice"


@rule(
    "probe-port",
    why="The probe never succeeds: the pod is restarted, or never gets traffic.",
    fix="probe a port that the container has",
)
def probe_port(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        for container in workload.containers:
            for probe in PROBES:
                port = _probed(container.get(probe) or {})
                if port is not None and port not in _ports(container):
                    yield (
                        workload.source,
                        (
                            f"the {probe} of container {container.get('name')} asks port {port}, "
                            "which it does not have"
                        ),
                    )


@rule(
    "service-port",
    why="Connections to the Service are refused.",
    fix="name a port that the selected pods have",
)
def service_port(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("Service"):
        selected = cluster.selected(source.spec.get("selector") or {}, source.namespace)
        for port in source.spec.get("ports") or []:
            target = port.get("targetPort", port.get("port"))
            if selected and not any(target in _all_ports(workload) for workload in selected):
                yield source, f"port {port.get('port')} leads to {target}, which no pod has"


@rule(
    "monitor-port",
    why="Prometheus scrapes nothing, and alerts stay silent.",
    fix="name a port that the selected pods have",
)
def monitor_port(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("PodMonitor"):
        selected = cluster.matching(source.spec.get("selector"), "")
        for endpoint in source.spec.get("podMetricsEndpoints") or []:
            port = endpoint.get("port")
            if port and selected and not any(port in _all_ports(w) for w in selected):
                yield source, f"scrapes the port {port!r}, which no selected pod has"


@rule(
    "pool-port",
    why="The picker sends requests to a port on which nothing listens.",
    fix="list the ports of the selected pods",
)
def pool_port(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("InferencePool"):
        selector = (source.spec.get("selector") or {}).get("matchLabels") or {}
        selected = cluster.selected(selector, source.namespace)
        for target in source.spec.get("targetPorts") or []:
            number = target.get("number")
            if selected and not any(number in _all_ports(workload) for workload in selected):
                yield source, f"target port {number} is on no selected pod"


@rule(
    "service-links",
    why="A Service named vllm sets VLLM_PORT in every pod of its namespace, which vLLM reads.",
    fix="set enableServiceLinks: false on the pods, or rename the Service",
)
def service_links(cluster: Cluster) -> Iterator[Fault]:
    named = {s.namespace for s in cluster.of("Service") if s.name == "vllm"}
    for workload, _ in servers(cluster):
        if workload.source.namespace in named and workload.pod.get("enableServiceLinks", True):
            yield workload.source, "a Service named vllm sets VLLM_PORT in its pods"


def _probed(probe: dict[str, Any]) -> Any:
    for how in ("httpGet", "tcpSocket", "grpc"):
        if isinstance(probe.get(how), dict):
            return probe[how].get("port")
    return None


def _ports(container: dict[str, Any]) -> set[Any]:
    ports = container.get("ports") or []
    return {port.get("containerPort") for port in ports} | {port.get("name") for port in ports}


def _all_ports(workload: Workload) -> set[Any]:
    return {port for container in workload.containers for port in _ports(container)}
