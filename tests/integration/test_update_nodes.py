"""A rolling update of a fleet on several machines: when it says done, it is so everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.node.wanted import Rollout, ask
from headrace.targets.deployment import Deployment
from tests.integration.fleet_fixtures import run_dir
from tests.integration.jobs import wait_for
from tests.integration.nodes import Many, many_nodes, simulated_plan
from tests.integration.streams import Load
from tests.integration.traces import left_behind, traces_of

pytestmark = pytest.mark.integration
__all__ = ["run_dir"]


def test_an_update_is_done_on_all_nodes_and_a_bad_one_goes_back(run_dir: Path, tmp_path: Path):
    plan = simulated_plan(tmp_path, 2, 2).model_copy(update={"pareto": [], "rejected": []})
    bad = plan.model_copy(update={"simulation": {"scheduler": {"max_model_len": 64}}})
    with many_nodes(run_dir, plan, ["a", "b"], lease_s=10.0) as many:
        assert many.ready is not None
        asked = {"model": plan.model, "prompt": [1, 2, 3], "max_tokens": 40, "stream": True}
        with Load(many.ready.urls[0], json.dumps(asked)) as load:
            assert wait_for(lambda: len(load.done) > 20)
            done = over(many, Rollout(generation=2, plan=plan))
            assert outcome(done) == ("done", [2, 2, 2, 2])
            returned = over(many, Rollout(generation=3, plan=bad))
            assert outcome(returned) == ("returned", [2, 2, 2, 2])
            traces = traces_of(run_dir)
    print(f"\n| update of two nodes, then a bad one | {len(load.done)} requests |")
    assert [timed for timed in load.done if not timed.good] == []
    assert len(traces.ports) == 4 + 3, "four replicas, the gateway, its metrics, the head"
    assert left_behind(traces, tmp_path / "state") == []


def over(many: Many, rollout: Rollout) -> Deployment:
    """Ask for it; the deployment at the first moment at which the head says that it is over."""
    found: list[Deployment] = []

    def is_over() -> bool:
        now = many.head.deployment()
        state = now.rollout if now else None
        if now and state and (state.generation, state.state) in ends:
            found.append(now)
        return bool(found)

    ends = {(rollout.generation, "done"), (rollout.generation, "returned")}
    ask(many.head.entry.run_dir, rollout=rollout)
    assert wait_for(is_over, 120)
    return found[0]


def outcome(deployment: Deployment) -> tuple[str, list[int]]:
    assert deployment.rollout is not None
    return deployment.rollout.state, [replica.generation for replica in deployment.replicas]
