"""How many replicas a given rate needs, with how many to spare: goals `fewest-gpus` and `cost`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headrace.errors import InfeasibleError
from headrace.planner.evaluate import Candidate, Evaluator, Refusal
from headrace.planner.search import Searched, plainness
from headrace.spec.fleet import Fleet

SURE = 2.33
"""Arrivals are Poisson: with so many standard deviations free, a request finds a slot 99 % of the
time (square-root staffing)."""


@dataclass(frozen=True)
class Sized:
    """A configuration in as many replicas as a rate needs."""

    full: Candidate
    """One replica at the most that it can do within the goals."""
    needed: int
    """Replicas that serve the rate."""
    spare: int
    """Replicas beside them."""
    per_node: int

    @property
    def replicas(self) -> int:
        """All of them."""
        return self.needed + self.spare

    @property
    def gpus(self) -> int:
        """GPUs in use."""
        return self.replicas * self.full.config.tensor_parallel

    @property
    def nodes(self) -> int:
        """Machines that hold them, the last one perhaps in part."""
        return -(-self.replicas // self.per_node)


def saturated(fleet: Fleet) -> Fleet:
    """The fleet at the most that it can do, whatever rate its file states."""
    load = {"request_rate": None, "token_rate": None, "concurrency": "auto"}
    return fleet.model_copy(update={"workload": fleet.workload.model_copy(update=load)})


def sized(full: Candidate, request_s: float, evaluator: Evaluator) -> Sized:
    """Replicas of one configuration for a rate."""
    hardware, tp = evaluator.fleet.hardware, full.config.tensor_parallel
    per_node = hardware.gpus_per_node // tp
    in_flight_s = full.concurrency / full.steady.request_s
    peak_s = request_s + SURE * math.sqrt(request_s / in_flight_s)
    needed = 1
    for _ in range(8):  # nodes lose a little to each other, so that more may need one more
        nodes = -(-(needed + evaluator.fleet.spare_replicas) // per_node)
        again = math.ceil(peak_s / (full.steady.request_s * (1 - evaluator.loss(nodes))))
        if again == needed:
            break
        needed = again
    return Sized(full, needed, evaluator.fleet.spare_replicas, per_node)


def fewest(searched: Searched, request_s: float, evaluator: Evaluator) -> Sized:
    """The configuration with the fewest GPUs; for goal `cost` the fewest nodes, which are paid."""
    whole_nodes = evaluator.fleet.goal == "cost"

    def place(one: Sized) -> tuple[float, ...]:
        paid = one.nodes if whole_nodes else 0
        return paid, one.gpus, *plainness(one.full)

    return min((sized(c, request_s, evaluator) for c in searched.feasible), key=place)


def placed(fleet: Fleet, size: Sized, request_s: float) -> Fleet:
    """The fleet on as many nodes as are needed.

    Raises InfeasibleError when its file states fewer.
    """
    hardware = fleet.hardware
    if "nodes" in hardware.model_fields_set and size.nodes > hardware.nodes:
        has = hardware.nodes * size.per_node
        raise InfeasibleError(
            f"{request_s:,.4g} requests/s within the goals need {size.needed} replicas and "
            f"{size.spare} spare on {size.nodes} nodes ({size.gpus} GPUs); the fleet's "
            f"{hardware.nodes} nodes hold {has}",
            hint=f"set hardware.nodes to {size.nodes}, or leave it out to be told how many",
        )
    nodes = hardware.model_copy(update={"nodes": size.nodes})
    return fleet.model_copy(update={"hardware": nodes})


def at_rate(size: Sized, evaluator: Evaluator) -> Candidate:
    """The sized configuration at the rate that it is for, all replicas serving.

    Raises InfeasibleError where a goal is missed all the same.
    """
    verdict = evaluator.judge(size.full.config, replicas=size.replicas)
    if isinstance(verdict, Refusal):
        raise InfeasibleError(verdict.reason, hint="relax slo in the fleet file")
    return verdict


def reasons(size: Sized, searched: Searched, request_s: float, evaluator: Evaluator) -> list[str]:
    """Why so many GPUs, in words."""
    each = size.full.steady.request_s * (1 - evaluator.loss(size.nodes))
    kept_free = 1 - request_s / (size.needed * each)
    needs = (
        f"{request_s:,.4g} requests/s need {size.needed} replicas: one serves {each:.4g} at most "
        f"({size.full.concurrency} in flight); {100 * kept_free:.0f} % stay free, since arrivals "
        "are random (Poisson) and replicas are whole"
    )
    lines = [needs]
    if size.spare:
        lines.append(_spare_words(size, evaluator))
    best: dict[int, int] = {}
    for candidate in searched.feasible:
        other = sized(candidate, request_s, evaluator)
        tp = candidate.config.tensor_parallel
        best[tp] = min(best.get(tp, other.gpus), other.gpus)
    listed = ", ".join(f"TP {tp}: {gpus}" for tp, gpus in sorted(best.items()))
    return [*lines, f"fewest GPUs by tensor parallelism: {listed}"]


def _spare_words(size: Sized, evaluator: Evaluator) -> str:
    config, lost = size.full.config, size.spare
    left = evaluator.judge(config, replicas=size.needed)
    without = left if isinstance(left, Candidate) else left.candidate
    all_up = evaluator.judge(config, replicas=size.replicas)
    both = [c.steady.tpot_s * 1e3 for c in (all_up, without) if isinstance(c, Candidate)]
    figures = f"; TPOT {both[0]:.1f} ms with all, {both[1]:.1f} without them" if both[1:] else ""
    return f"{lost} to spare: with {lost} lost the others keep the goals{figures}"
