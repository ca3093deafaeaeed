"""Envoy's configuration for one gateway: what it listens on, whom it lets in, what it logs."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headrace.gateway import filters
from headrace.gateway.cluster import CLUSTER, replicas_cluster
from headrace.node.job import GatewaySpec, Tls
from headrace.spec.balance import RESELECTIONS

REPLICA_HEADER = "x-headrace-replica"
SESSION_HEADER = "x-session-id"
METADATA = "headrace"
ADMIN_SOCKET = "admin.sock"
"""In Envoy's working folder: the admin port can end Envoy, so only this user reaches it."""

RoutingPolicy = Literal["round-robin", "least-request", "affinity", "prefix-affinity"]

STREAM_IDLE_TIMEOUT_S = 3600
"""A stream that is silent for so long is given up. A request that waits in a long queue, or that
does not stream, says nothing for minutes."""
CONNECTION_IDLE_TIMEOUT_S = 300
MAX_CONNECTIONS = 60_000
COUNT_PENDING = "envoy.reloadable_features.least_request_lb_count_pending_requests"
"""Least-request counts what waits for a connection too, which Envoy does not by default: in a burst
of new connections the replica slowest to accept them would look the least busy, and get the rest
(https://github.com/envoyproxy/envoy/issues/44989)."""
RETRIES = (2, 4)
"""The fewest and the most."""

_MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network."
    "http_connection_manager.v3.HttpConnectionManager"
)
_PREVIOUS_HOSTS = (
    "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
)
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_CONNECTIONS = (
    "type.googleapis.com/envoy.extensions.resource_monitors."
    "downstream_connections.v3.DownstreamConnectionsConfig"
)


@dataclass(frozen=True)
class GatewayConfig:
    """What one Envoy is told at its start.

    `endpoints` is the file that it watches for replicas, `replicas` how many there may be, `keys`
    the one for API keys (None: no key is asked for), `access_log` where sampled requests go.
    `shared`: another Envoy of this user listens on the same ports (`headrace.gateway.steering` says
    which of them is asked).
    """

    name: str
    spec: GatewaySpec
    port: int
    metrics_port: int
    endpoints: Path
    replicas: int
    keys: Path | None = None
    access_log: Path | None = None
    shared: bool = False

    @property
    def policy(self) -> RoutingPolicy:
        """How requests are spread."""
        if self.spec.policy == "none":
            raise ValueError("a gateway with the policy none")
        return self.spec.policy


def bootstrap(config: GatewayConfig) -> dict[str, Any]:
    """The whole bootstrap file; JSON of it is what `envoy -c` reads."""
    limit = {"max_active_downstream_connections": MAX_CONNECTIONS}
    return {
        "node": {"id": config.name, "cluster": config.name},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
        "layered_runtime": {
            "layers": [
                {"name": "features", "static_layer": {COUNT_PENDING: True}},
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {"@type": _CONNECTIONS, **limit},
                }
            ]
        },
        "static_resources": {
            "listeners": [_listener(config), _metrics_listener(config)],
            "clusters": [
                replicas_cluster(config.policy, config.endpoints, config.spec, config.replicas),
                _admin_cluster(),
            ],
        },
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(config: GatewayConfig) -> dict[str, Any]:
    return {
        "name": "openai",
        "address": _address(config.spec.host, config.port),
        **_socket(config.shared),
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": [_chain(_manager(config), config.spec.tls)],
    }


def _socket(shared: bool) -> dict[str, Any]:
    """One socket for all threads, so that it has one place among those of a shared port.

    Envoy's own `enable_reuse_port` would make one per thread.
    """
    option = {"level": socket.SOL_SOCKET, "name": socket.SO_REUSEPORT, "int_value": 1}
    options = {"socket_options": [option | {"state": "STATE_PREBIND"}]} if shared else {}
    return {"enable_reuse_port": False, **options}


def _chain(manager: dict[str, Any], tls: Tls | None) -> dict[str, Any]:
    network_filter = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager,
    }
    chain: dict[str, Any] = {"filters": [network_filter]}
    if tls is not None:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": _tls_context(tls),
        }
    return chain


def _tls_context(tls: Tls) -> dict[str, Any]:
    common: dict[str, Any] = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(tls.certificate)},
                "private_key": {"filename": str(tls.key)},
            }
        ],
    }
    context: dict[str, Any] = {"@type": _TLS, "common_tls_context": common}
    if tls.client_ca is not None:
        common["validation_context"] = {"trusted_ca": {"filename": str(tls.client_ca)}}
        context["require_client_certificate"] = True
    return context


def _manager(config: GatewayConfig) -> dict[str, Any]:
    spec = config.spec
    manager: dict[str, Any] = {
        "@type": _MANAGER,
        "stat_prefix": "gateway",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        "merge_slashes": True,
        "stream_idle_timeout": f"{STREAM_IDLE_TIMEOUT_S}s",
        "request_headers_timeout": f"{spec.head_timeout_s:g}s",
        "request_timeout": f"{spec.receive_timeout_s:g}s",
        "common_http_protocol_options": {
            "idle_timeout": f"{CONNECTION_IDLE_TIMEOUT_S}s",
            "max_headers_count": 100,
        },
        "http_filters": filters.chain(config.policy, spec, config.keys),
        "local_reply_config": filters.local_replies(spec.retry_after_s),
        "route_config": _routes(config),
    }
    if config.access_log is not None:
        manager["access_log"] = [filters.access_log(config.access_log, spec.access_log_share)]
    return manager


def _routes(config: GatewayConfig) -> dict[str, Any]:
    """Everything goes to the replicas, and each answer names the one that gave it."""
    named = {"key": REPLICA_HEADER, "value": f"%UPSTREAM_METADATA({METADATA}:replica)%"}

    def to(match: dict[str, str]) -> dict[str, Any]:
        return {"match": match, "route": _route(config.policy, config.replicas)}

    routes = [to({"prefix": "/"})]
    if config.keys is not None:
        health = to({"path": "/health"})
        routes.insert(0, health | {"typed_per_filter_config": filters.WITHOUT_KEY})
    return {
        "name": "openai",
        "response_headers_to_add": [
            {"header": named, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
        "virtual_hosts": [{"name": "openai", "domains": ["*"], "routes": routes}],
    }


def _retries(replicas: int) -> int:
    """How often a request is asked elsewhere.

    Of a lost node's replicas it may meet several before they are put aside, and half of the fleet
    may be lost with one node of two. But one that kills its replica must not take the fleet along.
    """
    fewest, most = RETRIES
    return min(max(fewest, replicas // 2), most)


def _route(policy: RoutingPolicy, replicas: int) -> dict[str, Any]:
    """No time limit; another replica is tried only while nothing of an answer has been seen.

    A request that a dying replica took (`reset`) is asked again elsewhere too. The pauses between,
    random ones, usually leave time to put aside replicas that refuse connections.
    """
    route: dict[str, Any] = {
        "cluster": CLUSTER,
        "timeout": "0s",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset",
            "num_retries": _retries(replicas),
            "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.25s"},
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": _PREVIOUS_HOSTS},
                }
            ],
            "host_selection_retry_max_attempts": RESELECTIONS,
        },
    }
    session = {"header": {"header_name": SESSION_HEADER}}
    if policy == "affinity":
        route["hash_policy"] = [session]
    if policy == "prefix-affinity":
        prefix = {"header": {"header_name": filters.PREFIX_HEADER}}
        route["hash_policy"] = [session | {"terminal": True}, prefix]
    return route


def _metrics_listener(config: GatewayConfig) -> dict[str, Any]:
    """Prometheus' page and nothing else of the admin interface: one exact path, read only."""
    page = {
        "match": {
            "path": "/metrics",
            "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
        },
        "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus", "timeout": "10s"},
    }
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "metrics",
        "normalize_path": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "request_headers_timeout": "10s",
        "http_filters": [*filters.key_check(config.keys), filters.ROUTER],
        "route_config": {
            "name": "metrics",
            "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [page]}],
        },
    }
    return {
        "name": "metrics",
        "address": _address(config.spec.metrics_host, config.metrics_port),
        **_socket(config.shared),
        "filter_chains": [_chain(manager, config.spec.tls if config.keys else None)],
    }


def _admin_cluster() -> dict[str, Any]:
    address = {"address": {"pipe": {"path": ADMIN_SOCKET}}}
    return {
        "name": "admin",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "admin",
            "endpoints": [{"lb_endpoints": [{"endpoint": address}]}],
        },
    }
