"""Metrics, alerts and the dashboard, as the Prometheus operator and Grafana's sidecar find them."""

from __future__ import annotations

import json

from headrace.monitoring.alerts import Goals, rule_groups
from headrace.monitoring.dashboard import dashboard, panels
from headrace.targets.kubernetes.envoy import STATS_PORT
from headrace.targets.kubernetes.objects import Manifest, Object, new, selector
from headrace.targets.kubernetes.pods import port_name
from headrace.targets.kubernetes.shape import Shape

MONITORING_API = "monitoring.coreos.com/v1"


def monitors(shape: Shape) -> list[Manifest]:
    """All of it, or nothing."""
    if not shape.target.monitoring:
        return []
    return [*_pod_monitors(shape), _rules(shape), _grafana(shape)]


def _pod_monitors(shape: Shape) -> list[Manifest]:
    ports = [port_name(shape, n) for n in range(shape.servers_per_pod)]
    engines = [{"port": port, "path": "/metrics", "interval": "15s"} for port in ports]
    found = [
        Manifest(
            _monitor(shape, shape.name, "replica", engines),
            "vLLM's metrics, from every replica.",
        )
    ]
    if shape.target.data_plane == "envoy":
        stats: list[Object] = [{"port": "stats", "path": "/stats/prometheus", "interval": "15s"}]
        made = _monitor(shape, f"{shape.name}-gateway", "gateway", stats)
        found.append(Manifest(made, f"Envoy's metrics (port {STATS_PORT})."))
    return found


def _monitor(shape: Shape, name: str, component: str, endpoints: list[Object]) -> Object:
    spec = {
        "selector": {"matchLabels": selector(shape, component)},
        "podMetricsEndpoints": endpoints,
    }
    return new(shape, MONITORING_API, "PodMonitor", name, component, {"spec": spec})


def _series(shape: Shape) -> dict[str, str]:
    return {"namespace": shape.namespace, "model_name": shape.model}


def _rules(shape: Shape) -> Manifest:
    goals = Goals(
        ttft_p99_ms=shape.slo_ms["ttft"],
        tpot_p99_ms=shape.slo_ms["tpot"],
        replicas=None if shape.target.autoscale.kind != "none" else shape.replicas,
        acceptance=shape.acceptance,
    )
    groups = rule_groups(
        _series(shape), goals, name=f"headrace-{shape.name}", also={"fleet": shape.name}
    )
    made = new(
        shape, MONITORING_API, "PrometheusRule", shape.name, "replica", {"spec": {"groups": groups}}
    )
    return Manifest(made, "Alerts, measured against the fleet file's goals and the plan.")


def _grafana(shape: Shape) -> Manifest:
    gateway = None
    if shape.target.data_plane == "envoy":
        gateway = {"namespace": shape.namespace, "envoy_cluster_name": "replicas"}
    page = dashboard(
        f"Fleet {shape.name}",
        f"headrace-{shape.name}"[:40],
        panels(_series(shape), gateway=gateway),
    )
    data = {"data": {f"{shape.name}.json": json.dumps(page, indent=1, ensure_ascii=False) + "\n"}}
    made = new(shape, "v1", "ConfigMap", f"{shape.name}-dashboard", "replica", data)
    made["metadata"]["labels"]["grafana_dashboard"] = "1"
    return Manifest(made, "The dashboard; Grafana's sidecar loads what has the label.")
