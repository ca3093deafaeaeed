"""Envoy inside the cluster: the same listener, retries and policies as on one machine.

What differs is how replicas are found: by a headless Service's DNS, which lists the ready pods.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

from headrace.gateway.config import REPLICA_HEADER, GatewayConfig, RoutingPolicy, bootstrap
from headrace.node.job import GatewaySpec
from headrace.targets.kubernetes.objects import Manifest, Object, labels, new, selector
from headrace.targets.kubernetes.pods import container_security, pod_security
from headrace.targets.kubernetes.shape import HTTP_PORT, Shape
from headrace.targets.kubernetes.text import dump

LISTEN_PORT = 8080
ADMIN_PORT = 9901
STATS_PORT = 9902
GPUS_PER_WORKER = 8
"""One Envoy thread carries the streams of eight fast GPUs."""
WORKERS = 4
DRAIN_S = 30
DNS_REFRESH_S = 5
_STATIC_ROUTES = ("/stats/prometheus", "/ready")


def envoy(shape: Shape) -> list[Manifest]:
    """The gateway's objects; none where the target balances otherwise."""
    if shape.target.data_plane != "envoy":
        return []
    return [_config_map(shape), _deployment(shape), _service(shape), _budget(shape)]


def pods(shape: Shape) -> int:
    """Gateway pods: at least two, so that one may be lost."""
    gpus = shape.replicas * shape.tensor_parallel
    return max(2, math.ceil(gpus / (GPUS_PER_WORKER * WORKERS)))


def config(shape: Shape) -> dict[str, Any]:
    """Envoy's bootstrap, from the one that the local gateway uses."""
    policy = cast(RoutingPolicy, "round-robin" if shape.policy == "none" else shape.policy)
    spec = GatewaySpec(policy=policy, host="0.0.0.0", port=LISTEN_PORT)
    unused = Path("unused")
    whole = bootstrap(
        GatewayConfig(name(shape), spec, LISTEN_PORT, STATS_PORT, unused, shape.replicas)
    )
    whole["admin"] = {"address": _admin_address()}
    static = whole["static_resources"]
    del static["listeners"][1:]  # the metrics of one machine; the pod's are below
    stable = static["clusters"][0]
    static["clusters"] = [
        by_dns(stable, stable["name"], _host(shape, shape.name), _ports(shape)),
        _admin_cluster(),
    ]
    _say_which_replica(static["listeners"][0])
    if shape.target.canary.image:
        host = _host(shape, f"{shape.name}-canary")
        static["clusters"].append(by_dns(stable, "canary", host, _ports(shape)))
        _split(static["listeners"][0], stable["name"], shape.target.canary.weight)
    static["listeners"].append(_stats_listener())
    return whole


def by_dns(cluster: Object, cluster_name: str, host: str, ports: list[int]) -> Object:
    """A cluster whose replicas are all addresses of a DNS name, on each of the ports."""
    kept = {key: value for key, value in cluster.items() if key != "eds_cluster_config"}
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
        for port in ports
    ]
    return kept | {
        "name": cluster_name,
        "type": "STRICT_DNS",
        "dns_refresh_rate": f"{DNS_REFRESH_S}s",
        "respect_dns_ttl": False,
        "dns_lookup_family": "ALL",
        "load_assignment": {
            "cluster_name": cluster_name,
            "endpoints": [{"lb_endpoints": endpoints}],
        },
    }


def name(shape: Shape) -> str:
    """Of the gateway's objects."""
    return f"{shape.name}-gateway"


def _host(shape: Shape, service: str) -> str:
    return f"{service}.{shape.namespace}.svc.cluster.local"


def _ports(shape: Shape) -> list[int]:
    return [HTTP_PORT + n for n in range(shape.servers_per_pod)]


def _route_config(listener: Object) -> Object:
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return cast(Object, manager["route_config"])


def _say_which_replica(listener: Object) -> None:
    """Pods have no name in DNS: their address says which one answered."""
    header = {"key": REPLICA_HEADER, "value": "%UPSTREAM_REMOTE_ADDRESS%"}
    _route_config(listener)["response_headers_to_add"] = [
        {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    ]


def _split(listener: Object, stable: str, percent: int) -> None:
    route = _route_config(listener)["virtual_hosts"][0]["routes"][0]["route"]
    del route["cluster"]
    route["weighted_clusters"] = {
        "clusters": [
            {"name": stable, "weight": 100 - percent},
            {"name": "canary", "weight": percent},
        ]
    }


def _admin_address() -> Object:
    return {"socket_address": {"address": "127.0.0.1", "port_value": ADMIN_PORT}}


def _admin_cluster() -> Object:
    address = _admin_address()
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": "admin",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "admin", "endpoints": endpoints},
    }


def _stats_listener() -> Object:
    """Metrics and readiness for the cluster; the rest of the admin page stays inside the pod."""
    routes = [{"match": {"path": path}, "route": {"cluster": "admin"}} for path in _STATIC_ROUTES]
    manager = {
        "@type": (
            "type.googleapis.com/envoy.extensions.filters.network."
            "http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": "stats",
        "route_config": {
            "name": "stats",
            "virtual_hosts": [{"name": "stats", "domains": ["*"], "routes": routes}],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    return {
        "name": "stats",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": STATS_PORT}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }


def _config_map(shape: Shape) -> Manifest:
    data = {"data": {"envoy.yaml": dump(config(shape))}}
    made = new(shape, "v1", "ConfigMap", name(shape), "gateway", data)
    return Manifest(made, "Envoy's whole configuration; a change needs a restart of its pods.")


def _deployment(shape: Shape) -> Manifest:
    pod: Object = {
        "serviceAccountName": shape.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": shape.target.pre_stop_s + shape.drain_s + DRAIN_S,
        "securityContext": pod_security(),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(shape, "gateway")},
            }
        ],
        "containers": [_container(shape)],
        "volumes": [{"name": "config", "configMap": {"name": name(shape)}}],
    }
    spec: Object = {
        "replicas": pods(shape),
        "revisionHistoryLimit": 3,
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": selector(shape, "gateway")},
        "template": {"metadata": {"labels": labels(shape, "gateway")}, "spec": pod},
    }
    made = new(shape, "apps/v1", "Deployment", name(shape), "gateway", {"spec": spec})
    text = (
        f"Envoy in front of the replicas, policy {shape.policy}: one thread carries the streams of "
        f"{GPUS_PER_WORKER} fast GPUs."
    )
    notes = {
        "spec.template.spec.containers.0.lifecycle": (
            "streams in flight end before Envoy does, as long as the replicas' own drain"
        )
    }
    return Manifest(made, text, notes)


def _container(shape: Shape) -> Object:
    ready = {"httpGet": {"path": "/ready", "port": STATS_PORT}}
    return {
        "name": "envoy",
        "image": shape.target.gateway_image,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            *("--config-path", "/etc/envoy/envoy.yaml"),
            *("--concurrency", str(WORKERS), "--log-level", "warning"),
        ],
        "ports": [
            {"name": "http", "containerPort": LISTEN_PORT},
            {"name": "stats", "containerPort": STATS_PORT},
        ],
        "startupProbe": ready | {"periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": ready | {"periodSeconds": 2},
        "livenessProbe": ready | {"periodSeconds": 10, "failureThreshold": 6},
        "lifecycle": {"preStop": {"sleep": {"seconds": shape.target.pre_stop_s + shape.drain_s}}},
        "resources": {
            "requests": {"cpu": str(WORKERS), "memory": "2Gi"},
            "limits": {"memory": "4Gi"},
        },
        "securityContext": container_security() | {"readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/envoy", "readOnly": True}],
    }


def _service(shape: Shape) -> Manifest:
    spec = {
        "selector": selector(shape, "gateway"),
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
    }
    made = new(shape, "v1", "Service", name(shape), "gateway", {"spec": spec})
    return Manifest(made, f"Where clients send requests: http://{name(shape)}.{shape.namespace}")


def _budget(shape: Shape) -> Manifest:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": selector(shape, "gateway")}}
    made = new(shape, "policy/v1", "PodDisruptionBudget", name(shape), "gateway", {"spec": spec})
    return Manifest(made, "One gateway pod at a time when nodes are drained.")
