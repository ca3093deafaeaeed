from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.gateway.config import GatewayConfig, RoutingPolicy, bootstrap


def cluster(policy: RoutingPolicy) -> dict[str, Any]:
    return config(policy)["static_resources"]["clusters"][0]


def config(policy: RoutingPolicy) -> dict[str, Any]:
    endpoints = Path("/run/gateway/endpoints/replicas.json")
    return bootstrap(GatewayConfig("tiny", policy, "0.0.0.0", 8000, 9901, endpoints))


def route(policy: RoutingPolicy) -> dict[str, Any]:
    manager = config(policy)["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    return manager["typed_config"]["route_config"]["virtual_hosts"][0]["routes"][0]["route"]


def test_the_admin_port_is_for_this_machine_only_whatever_the_gateway_listens_on():
    found = config("least-request")
    listener = found["static_resources"]["listeners"][0]["address"]["socket_address"]
    assert listener == {"address": "0.0.0.0", "port_value": 8000}
    assert found["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("policy", "lb_policy"),
    [("round-robin", "ROUND_ROBIN"), ("least-request", "LEAST_REQUEST"), ("affinity", "MAGLEV")],
)
def test_every_policy_is_one_of_envoy(policy: RoutingPolicy, lb_policy: str):
    assert cluster(policy)["lb_policy"] == lb_policy


def test_only_affinity_looks_at_the_session_header():
    assert route("affinity")["hash_policy"] == [{"header": {"header_name": "x-session-id"}}]
    assert "hash_policy" not in route("least-request")


def test_a_request_is_never_sent_twice_once_an_answer_began():
    retried = set(route("least-request")["retry_policy"]["retry_on"].split(","))
    assert retried == {"connect-failure", "refused-stream", "reset"}


def test_long_answers_are_not_cut():
    assert route("least-request")["timeout"] == "0s"


def test_endpoints_come_from_the_watched_file():
    source = cluster("least-request")["eds_cluster_config"]["eds_config"]["path_config_source"]
    assert source == {
        "path": "/run/gateway/endpoints/replicas.json",
        "watched_directory": {"path": "/run/gateway/endpoints"},
    }


def test_it_is_plain_json():
    assert json.loads(json.dumps(config("affinity"))) == config("affinity")


@pytest.mark.parametrize("policy", ["round-robin", "least-request", "affinity"])
def test_a_replica_that_became_healthy_is_used_at_once(policy: RoutingPolicy):
    assert cluster(policy)["common_lb_config"]["update_merge_window"] == "0s"
