"""The replicas as Envoy sees them: found in a file, checked, limited, chosen from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace.node.job import GatewaySpec
from headrace.spec.balance import BOUND, looks

CLUSTER = "replicas"
MAX_STREAMS = 50_000
"""Streams, connections and waiting requests that one replica may hold: no limit in practice."""
HEALTH_TIMEOUT_S = 5
"""A busy engine answers `/health` late; only one that is stuck takes longer than this."""
LIMIT_KEY = f"circuit_breakers.{CLUSTER}.default.max_requests"
"""The runtime key by which the admission limit follows the number of ready replicas."""

_LEAST_REQUEST = (
    "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest"
)


def replicas_cluster(
    policy: str, endpoints: Path, spec: GatewaySpec, replicas: int
) -> dict[str, Any]:
    """The replicas: found in the watched file, checked every second, put aside when they fail.

    A replica that is taken out of the file gets no new requests and finishes those it has.
    """
    return {
        "name": CLUSTER,
        "type": "EDS",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": 1 << 20,
        "ignore_health_on_host_removal": True,
        "eds_cluster_config": {
            "service_name": CLUSTER,
            "eds_config": watched(endpoints),
        },
        "circuit_breakers": {"thresholds": [_limits(spec.in_flight_per_replica)]},
        "health_checks": [_health_check()],
        "outlier_detection": _put_aside(),
        **_balancing(policy, replicas),
    }


def watched(file: Path) -> dict[str, Any]:
    """A source of configuration that is read again whenever the file is replaced."""
    return {
        "resource_api_version": "V3",
        "path_config_source": {
            "path": str(file),
            "watched_directory": {"path": str(file.parent)},
        },
    }


def _limits(in_flight: int | None) -> dict[str, Any]:
    """`in_flight` is for one replica; the agent raises it as replicas become ready."""
    return {
        "max_connections": MAX_STREAMS,
        "max_pending_requests": MAX_STREAMS,
        "max_requests": in_flight or MAX_STREAMS,
        "max_retries": 1000,
        "track_remaining": True,
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


def _put_aside() -> dict[str, Any]:
    """One connection that is refused or breaks is enough: no other request need learn it.

    A dead replica is the least busy one until then. One that lives and hung up for another reason
    is taken back by its next good health check, within a second. All may be put aside: then all
    are asked again (`_balancing`).
    """
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 1,
        "successful_active_health_check_uneject_host": True,
        "enforcing_local_origin_success_rate": 0,
        "consecutive_5xx": 3,
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_percent": 100,
    }


def _balancing(policy: str, replicas: int) -> dict[str, Any]:
    """The load-balancing part of the cluster.

    least-request: the least busy of twice as many random ones as there are replicas; a look at 192
    counters costs less than a chunk, and two random ones leave a fleet 10 % and more out of
    balance. Not the least busy of all: a replica that just died is that, and Envoy could not be
    made to ask another one again. affinity: requests with the same `x-session-id` (or prompt
    prefix) go to the same replica while it is there and not overloaded; one without goes to a
    random replica. The endpoint file names what is hashed: the replica's id. Changes of health
    reach the worker threads at once, not merged over a second. Replicas that were put aside or are
    not well are asked only when none is left (fewer than one in a hundred); Envoy's own limit is
    half of them.
    """
    common: dict[str, Any] = {"update_merge_window": "0s", "healthy_panic_threshold": {"value": 1}}
    if policy == "round-robin":
        return {"lb_policy": "ROUND_ROBIN", "common_lb_config": common}
    if policy == "least-request":
        config = {
            "@type": _LEAST_REQUEST,
            "choice_count": looks(replicas),
        }
        extension = {"name": "envoy.load_balancing_policies.least_request", "typed_config": config}
        policies = [{"typed_extension_config": extension}]
        return {"load_balancing_policy": {"policies": policies}, "common_lb_config": common}
    common["consistent_hashing_lb_config"] = {"hash_balance_factor": round(100 * BOUND)}
    return {"lb_policy": "MAGLEV", "common_lb_config": common}
