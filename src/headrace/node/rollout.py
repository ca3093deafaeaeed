"""A rollout over several machines: one after the other, all back when one had a bad replica.

Each machine's agent replaces its own processes (`headrace.node.steward`); the head decides whose
turn it is, and says how far the whole fleet is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from headrace.node.coordinator import Node
from headrace.node.wanted import Rollout
from headrace.targets.deployment import RolloutState

LOST_FOR_GOOD_S = 30.0
"""A machine that was silent for less may be busy only: the rollout waits for it."""


class FleetRollout:
    """Follows the machines' reports; `nodes` is in the order in which they take their turn."""

    def __init__(self, nodes: Mapping[str, Node], clock: Callable[[], float]) -> None:
        self._nodes = nodes
        self._clock = clock
        self._good: Rollout | None = None
        """The last one that every machine has done; None: the plan of the start."""
        self._refused: set[int] = set()

    def for_node(self, name: str, wanted: Rollout | None) -> Rollout | None:
        """What a machine shall run now."""
        if wanted is None or self._is_refused(wanted.generation):
            return self._good
        before = list(self._nodes)[: list(self._nodes).index(name)]
        waits = any(not _has_done(node, wanted.generation) for node in self._present(before))
        return self._good if waits else wanted

    def state(self, wanted: Rollout) -> RolloutState:
        """How far it is. `done` and `returned` hold for every replica of every machine there."""
        present = self._present(self._nodes)
        said = [node.last.rollout for node in self._nodes.values() if node.last]
        mine = [state for state in said if state and state.generation == wanted.generation]
        state = RolloutState(
            generation=wanted.generation,
            state="rolling",
            done=sum(one.done for one in mine),
            total=sum(one.total for one in mine),
            detail=next((one.detail for one in mine if one.state == "returned"), None),
        )
        if self._is_refused(wanted.generation):
            good = self._good.generation if self._good else 1
            back = all(_runs(node, good) for node in present)
            return state.model_copy(update={"state": "returned" if back else "returning"})
        if present and all(_has_done(node, wanted.generation) for node in present):
            self._good = wanted
            return state.model_copy(update={"state": "done"})
        return state

    def _is_refused(self, generation: int) -> bool:
        said = [node.last.rollout for node in self._nodes.values() if node.last]
        if any(one and one.generation == generation and one.state == "returned" for one in said):
            self._refused.add(generation)
        return generation in self._refused

    def _present(self, names: Collection[str]) -> list[Node]:
        """The machines that report, and those that may again."""
        nodes = [self._nodes[name] for name in names]
        return [node for node in nodes if node.stage == "live" or self._may_return(node)]

    def _may_return(self, node: Node) -> bool:
        return node.stage == "lost" and self._clock() - node.heard_s < LOST_FOR_GOOD_S


def _has_done(node: Node, generation: int) -> bool:
    state = node.last.rollout if node.last else None
    return state is not None and state.generation == generation and state.state == "done"


def _runs(node: Node, generation: int) -> bool:
    """Whether all its replicas are of that generation, and it is not changing any."""
    if node.last is None:
        return False
    state = node.last.rollout
    changing = state is not None and state.state in ("rolling", "returning")
    return not changing and all(r.generation == generation for r in node.last.replicas)
