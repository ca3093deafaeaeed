from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.gateway.config import GatewayConfig, RoutingPolicy, bootstrap
from headrace.node.job import GatewaySpec, Tls


def cluster(policy: RoutingPolicy) -> dict[str, Any]:
    return config(policy)["static_resources"]["clusters"][0]


def config(policy: RoutingPolicy, replicas: int = 12, **changes: Any) -> dict[str, Any]:
    endpoints = Path("/run/gateway/endpoints/replicas.json")
    keys = Path("/run/gateway/keys/valid.json") if "keys_file" in changes else None
    spec = GatewaySpec(policy=policy, host="0.0.0.0", port=8000, **changes)
    log = Path("/run/a.log")
    return bootstrap(GatewayConfig("tiny", spec, 8000, 9901, endpoints, replicas, keys, log))


def route(policy: RoutingPolicy, replicas: int = 12) -> dict[str, Any]:
    chain = config(policy, replicas)["static_resources"]["listeners"][0]["filter_chains"][0]
    manager = chain["filters"][0]
    return manager["typed_config"]["route_config"]["virtual_hosts"][0]["routes"][0]["route"]


@pytest.mark.parametrize(("replicas", "times"), [(1, 2), (5, 2), (7, 3), (8, 4), (96, 4)])
def test_a_request_is_asked_elsewhere_more_often_in_a_larger_fleet(replicas: int, times: int):
    assert route("least-request", replicas)["retry_policy"]["num_retries"] == times


def test_the_admin_interface_is_a_socket_for_this_user_whatever_the_gateway_listens_on():
    found = config("least-request")
    listener = found["static_resources"]["listeners"][0]["address"]["socket_address"]
    assert listener == {"address": "0.0.0.0", "port_value": 8000}
    assert found["admin"] == {"address": {"pipe": {"path": "admin.sock", "mode": 0o600}}}


@pytest.mark.parametrize(
    ("policy", "lb_policy"),
    [("round-robin", "ROUND_ROBIN"), ("affinity", "MAGLEV"), ("prefix-affinity", "MAGLEV")],
)
def test_every_policy_is_one_of_envoy(policy: RoutingPolicy, lb_policy: str):
    assert cluster(policy)["lb_policy"] == lb_policy


def test_least_request_looks_at_every_replica():
    (policy,) = cluster("least-request")["load_balancing_policy"]["policies"]
    assert policy["typed_extension_config"]["typed_config"]["choice_count"] == 24


def test_keys_are_asked_for_before_the_body_is_read():
    names = [f["name"] for f in filters(config("prefix-affinity", keys_file=Path("/keys")))]
    assert names == [
        "headrace.keys",
        "envoy.filters.http.buffer",
        "envoy.filters.http.lua",
        "envoy.filters.http.router",
    ]


def test_a_client_authority_makes_certificates_a_must():
    tls = Tls(certificate=Path("/c"), key=Path("/k"), client_ca=Path("/ca"))
    chain = config("affinity", tls=tls)["static_resources"]["listeners"][0]["filter_chains"][0]
    assert chain["transport_socket"]["typed_config"]["require_client_certificate"] is True


def filters(found: dict[str, Any]) -> list[dict[str, Any]]:
    chain = found["static_resources"]["listeners"][0]["filter_chains"][0]
    return chain["filters"][0]["typed_config"]["http_filters"]


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
