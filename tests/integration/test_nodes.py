"""Several agents and a head: registration, spreading, loss of a node, forged agents."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from headrace.node.http import request
from headrace.node.job import GatewaySpec
from headrace.node.report import NodeReport
from headrace.targets.deployment import Replica
from tests.integration.fleet_fixtures import run_dir
from tests.integration.jobs import processes_of, wait_for
from tests.integration.nodes import Many, many_nodes, simulated_plan
from tests.integration.streams import completions

pytestmark = pytest.mark.integration
__all__ = ["run_dir"]


def test_nodes_register_serve_are_lost_and_stopped(run_dir: Path, tmp_path: Path):
    plan = simulated_plan(tmp_path, 2, 2)
    with many_nodes(run_dir, plan, ["a", "b"], lease_s=3.0) as many:
        assert many.ready is not None
        placed = [(r.id, r.node, r.gpus) for r in many.ready.replicas]
        assert placed == [("r0", "a", [0]), ("r1", "a", [1]), ("r2", "b", [0]), ("r3", "b", [1])]
        (url,) = many.ready.urls
        got = completions(url, plan.model, 40)
        assert Counter(g.status for g in got) == {200: 40}
        assert {g.replica for g in got} == {"r0", "r1", "r2", "r3"}
        refuse_strangers(many)
        lose_a_node(many, url, plan.model)
    assert processes_of(run_dir) == []
    last = many.head.deployment()
    assert last is not None
    assert {r.state for r in last.replicas if r.node == "b"} == {"stopped"}


def refuse_strangers(many: Many) -> None:
    """No key, a wrong one, a node that nobody knows, a name that is taken, a body without end."""
    forged = report(["r0", "r1"]).model_dump_json().encode()
    good = {"Authorization": f"Bearer {many.token}"}
    assert status(many, "a", forged) == 401
    assert status(many, "a", forged, {"Authorization": "Bearer guess"}) == 401
    assert status(many, "c", forged, good) == 404
    assert status(many, "a", report(["r0", "r9"]).model_dump_json().encode(), good) == 404
    assert status(many, "a", forged, good) == 409
    assert status(many, "a", b"{}", good) == 422
    assert status(many, "a", b" " * (5 << 20), good) == 413
    assert status(many, "../nodes/a", forged, good) == 404
    now = many.head.deployment()
    assert now is not None
    assert {r.state for r in now.replicas} == {"ready"}
    assert all(r.url.startswith("http://127.0.0.1:") for r in now.replicas)


def lose_a_node(many: Many, url: str, model: str) -> None:
    """Its agent is killed: its keepers end the replicas, the others go on, and it is said."""
    os.kill(many.agents["a"].pid, signal.SIGKILL)
    got = [g for _ in range(10) for g in completions(url, model, 10)]
    assert Counter(g.status for g in got) == {200: 100}
    assert wait_for(lambda: states(many) == ["failed", "failed", "ready", "ready"])
    now = many.head.deployment()
    assert now is not None
    assert [(n.name, n.state) for n in now.nodes] == [("a", "lost"), ("b", "live")]
    assert now.replicas[0].detail == "its node: no report for 3 s"


def test_agents_without_a_head_drain_and_end(run_dir: Path, tmp_path: Path):
    plan = simulated_plan(tmp_path, 1, 2)
    gateways = GatewaySpec(policy="least-request")
    with many_nodes(run_dir, plan, ["a"], orphan_s=2.0, gateways=gateways) as many:
        assert many.ready is not None
        (url,) = many.ready.urls
        assert url != many.ready.replicas[0].url
        assert completions(url, plan.model, 2)[0].status == 200
        os.kill(many.head.entry.agent_pid, signal.SIGKILL)
        many.agents["a"].wait(timeout=30)
        assert wait_for(lambda: not processes_of(run_dir)), processes_of(run_dir)
    log = (run_dir / "a" / "logs" / "agent.log").read_text()
    assert "no answer from http://127.0.0.1:" in log
    assert "Traceback" not in log


def report(ids: list[str]) -> NodeReport:
    evil = [Replica(id=i, node="a", url="http://203.0.113.9:1", state="ready") for i in ids]
    return NodeReport(agent="forged", host="evil", pid=1, replicas=evil)


def status(many: Many, node: str, body: bytes, headers: dict[str, str] | None = None) -> int:
    answer = asyncio.run(
        request("POST", f"{many.url}/v1/nodes/{node}", 10, body=body, headers=headers or {})
    )
    assert answer is not None
    return answer.status


def states(many: Many) -> list[str]:
    now = many.head.deployment()
    return [replica.state for replica in now.replicas] if now else []
