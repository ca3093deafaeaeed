"""Envoy's configuration for one gateway: what it listens on, how it spreads, when it retries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

CLUSTER = "replicas"
REPLICA_HEADER = "x-headrace-replica"
SESSION_HEADER = "x-session-id"
METADATA = "headrace"

RoutingPolicy = Literal["round-robin", "least-request", "affinity"]

MAX_STREAMS = 50_000
"""Streams, connections and waiting requests that one replica may hold: no limit in practice."""
STREAM_IDLE_TIMEOUT_S = 3600
"""A stream that is silent for so long is given up. A request that waits in a long queue, or that
does not stream, says nothing for minutes."""
HEALTH_TIMEOUT_S = 5
"""A busy engine answers `/health` late; only one that is stuck takes longer than this."""
RETRIES = 2
BALANCE_FACTOR_PERCENT = 150
"""Affinity gives way when a replica has this share of the mean number of running requests."""

_HTTP_MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network."
    "http_connection_manager.v3.HttpConnectionManager"
)
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_PREVIOUS_HOSTS = (
    "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
)


@dataclass(frozen=True)
class GatewayConfig:
    """What one Envoy is told at its start. `endpoints` is the file that it watches."""

    name: str
    policy: RoutingPolicy
    host: str
    port: int
    admin_port: int
    endpoints: Path


def bootstrap(config: GatewayConfig) -> dict[str, Any]:
    """The whole bootstrap file; JSON of it is what `envoy -c` reads."""
    return {
        "node": {"id": config.name, "cluster": config.name},
        "admin": {"address": _address("127.0.0.1", config.admin_port)},
        "static_resources": {"listeners": [_listener(config)], "clusters": [_cluster(config)]},
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(config: GatewayConfig) -> dict[str, Any]:
    """One port. It is not shared (`SO_REUSEPORT`), so that a second gateway on it fails loudly."""
    return {
        "name": "openai",
        "address": _address(config.host, config.port),
        "enable_reuse_port": False,
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": [{"filters": [_http_manager(config.policy)]}],
    }


def _http_manager(policy: RoutingPolicy) -> dict[str, Any]:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": _HTTP_MANAGER,
            "stat_prefix": "gateway",
            "codec_type": "AUTO",
            "use_remote_address": True,
            "generate_request_id": False,
            "server_header_transformation": "PASS_THROUGH",
            "stream_idle_timeout": f"{STREAM_IDLE_TIMEOUT_S}s",
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": _ROUTER, "suppress_envoy_headers": True},
                }
            ],
            "route_config": _routes(policy),
        },
    }


def _routes(policy: RoutingPolicy) -> dict[str, Any]:
    """Everything goes to the replicas, and each answer names the one that gave it."""
    return {
        "name": "openai",
        "response_headers_to_add": [
            {
                "header": {
                    "key": REPLICA_HEADER,
                    "value": f"%UPSTREAM_METADATA({METADATA}:replica)%",
                },
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
        "virtual_hosts": [
            {
                "name": "openai",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": _route(policy)}],
            }
        ],
    }


def _route(policy: RoutingPolicy) -> dict[str, Any]:
    """No time limit; another replica is tried only while nothing of an answer has been seen.

    A request that a dying replica took (`reset`) is asked again elsewhere, twice at most: one that
    kills its replica must not take the fleet along.
    """
    route: dict[str, Any] = {
        "cluster": CLUSTER,
        "timeout": "0s",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset",
            "num_retries": RETRIES,
            "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.1s"},
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": _PREVIOUS_HOSTS},
                }
            ],
            "host_selection_retry_max_attempts": 5,
        },
    }
    if policy == "affinity":
        route["hash_policy"] = [{"header": {"header_name": SESSION_HEADER}}]
    return route


def _cluster(config: GatewayConfig) -> dict[str, Any]:
    """The replicas: found in the watched file, checked every second, put aside when they fail.

    A replica that is taken out of the file gets no new requests and finishes those it has.
    """
    return {
        "name": CLUSTER,
        "type": "EDS",
        "connect_timeout": "1s",
        "ignore_health_on_host_removal": True,
        "eds_cluster_config": {
            "service_name": CLUSTER,
            "eds_config": {
                "resource_api_version": "V3",
                "path_config_source": {
                    "path": str(config.endpoints),
                    "watched_directory": {"path": str(config.endpoints.parent)},
                },
            },
        },
        "circuit_breakers": {"thresholds": [_limits()]},
        "health_checks": [_health_check()],
        "outlier_detection": {
            "consecutive_5xx": 3,
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 50,
        },
        **_balancing(config.policy),
    }


def _limits() -> dict[str, Any]:
    return {
        "max_connections": MAX_STREAMS,
        "max_pending_requests": MAX_STREAMS,
        "max_requests": MAX_STREAMS,
        "max_retries": 1000,
    }


def _health_check() -> dict[str, Any]:
    """The same pace with and without traffic: an idle fleet is checked too."""
    return {
        "timeout": f"{HEALTH_TIMEOUT_S}s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/health"},
    }


def _balancing(policy: RoutingPolicy) -> dict[str, Any]:
    """The load-balancing part of the cluster.

    least-request: the less busy of two random replicas. affinity: requests with the same
    `x-session-id` go to the same replica while it is there and not overloaded; one without that
    header goes to a random replica. The endpoint file names what is hashed: the replica's id.
    Changes of health reach the worker threads at once, not merged over a second.
    """
    common: dict[str, Any] = {"update_merge_window": "0s"}
    if policy == "round-robin":
        return {"lb_policy": "ROUND_ROBIN", "common_lb_config": common}
    if policy == "least-request":
        return {
            "lb_policy": "LEAST_REQUEST",
            "least_request_lb_config": {"choice_count": 2},
            "common_lb_config": common,
        }
    common["consistent_hashing_lb_config"] = {"hash_balance_factor": BALANCE_FACTOR_PERCENT}
    return {"lb_policy": "MAGLEV", "common_lb_config": common}
