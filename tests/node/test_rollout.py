"""Whose turn it is in a rollout over several machines, and when it may be called done."""

from __future__ import annotations

from functools import cache

from headrace.node.coordinator import Node
from headrace.node.job import ExpectedNode
from headrace.node.report import NodeReport
from headrace.node.rollout import LOST_FOR_GOOD_S, FleetRollout
from headrace.node.wanted import Rollout
from headrace.targets.deployment import Replica, RolloutStage, RolloutState
from tests.targets.planned import planned


@cache
def wanted() -> Rollout:
    return Rollout(generation=2, plan=planned({"kind": "local"}))


def node(name: str, generation: int = 1, state: RolloutStage | None = None) -> Node:
    """One with a replica of that generation; `state` is of generation 2."""
    replica = Replica(id=name, node=name, url="", state="ready", generation=generation)
    said = state and RolloutState(generation=2, state=state, done=1, total=1, detail="why")
    last = NodeReport(agent=name, host=name, pid=1, replicas=[replica], rollout=said)
    return Node(ExpectedNode(name=name, replicas=[name]), stage="live", last=last)


def rollout(*nodes: Node, now_s: float = 0.0) -> FleetRollout:
    return FleetRollout({node.expected.name: node for node in nodes}, lambda: now_s)


def test_nodes_take_turns():
    first, second = node("a"), node("b")
    both = rollout(first, second)
    assert both.for_node("a", wanted()) == wanted()
    assert both.for_node("b", wanted()) is None
    first.last = node("a", 2, "done").last
    assert both.for_node("b", wanted()) == wanted()


def test_it_is_done_when_every_node_has_done_it():
    assert rollout(node("a", 2, "done"), node("b")).state(wanted()).state == "rolling"
    assert rollout(node("a", 2, "done"), node("b", 2, "rolling")).state(wanted()).state == "rolling"
    assert rollout(node("a", 2, "done"), node("b", 2, "done")).state(wanted()).state == "done"


def test_a_node_that_is_silent_for_a_moment_is_waited_for():
    silent = node("b")
    silent.stage = "lost"
    assert rollout(node("a", 2, "done"), silent).state(wanted()).state == "rolling"
    late = rollout(node("a", 2, "done"), silent, now_s=LOST_FOR_GOOD_S)
    assert late.state(wanted()).state == "done"


def test_it_is_returned_when_every_node_has_gone_back():
    done, bad = node("a", 2, "done"), node("b", 1, "returned")
    both = rollout(done, bad)
    state = both.state(wanted())
    assert (state.state, state.detail) == ("returning", "why")
    assert both.for_node("a", wanted()) is None
    done.last = node("a", 1).last
    assert both.state(wanted()).state == "returned"


def test_all_go_back_to_the_last_good_one():
    first, second = node("a", 2, "done"), node("b", 2, "done")
    both = rollout(first, second)
    assert both.state(wanted()).state == "done"
    assert both.for_node("a", None) == wanted()


def test_without_a_node_nothing_is_done():
    assert rollout().state(wanted()).state == "rolling"
