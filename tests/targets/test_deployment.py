"""When a fleet serves, and where."""

from __future__ import annotations

import pytest

from headrace.targets.deployment import (
    Deployment,
    GatewayState,
    NodeState,
    Replica,
    ReplicaState,
)


def gateway(port: int, state: ReplicaState) -> GatewayState:
    return GatewayState(url=f"http://127.0.0.1:{port}", metrics_url="", state=state)


def fleet(
    replica: ReplicaState = "ready",
    front: ReplicaState | None = None,
    nodes: tuple[ReplicaState, ...] = (),
) -> Deployment:
    """One replica; a front gateway or none, and so many nodes with gateways."""
    return Deployment(
        fleet="small",
        engine="simulated",
        run_dir="/run",
        agent_pid=1,
        started_at="2026-01-02T03:03:00+00:00",
        replicas=[Replica(id="r0", node="a", url="http://127.0.0.1:1", state=replica)],
        gateway=gateway(8000, front) if front else None,
        nodes=[
            NodeState(name=f"n{port}", state="live", gateway=gateway(9000 + port, state))
            for port, state in enumerate(nodes)
        ],
    )


@pytest.mark.parametrize(
    ("there", "urls"),
    [
        (fleet(), ["http://127.0.0.1:1"]),
        (fleet(front="ready", nodes=("starting",)), ["http://127.0.0.1:8000"]),
        (fleet(nodes=("ready", "ready")), ["http://127.0.0.1:9000", "http://127.0.0.1:9001"]),
    ],
)
def test_it_serves_where_clients_send_to(there: Deployment, urls: list[str]) -> None:
    assert there.serves
    assert there.urls == urls


@pytest.mark.parametrize(
    "there",
    [
        fleet(replica="starting"),
        fleet(front="starting"),
        fleet(nodes=("ready", "starting")),
        fleet(replica="draining", nodes=("ready",)),
    ],
)
def test_it_does_not_serve_before_replicas_and_gateways_are_ready(there: Deployment) -> None:
    assert not there.serves
