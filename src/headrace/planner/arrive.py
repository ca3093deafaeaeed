"""How requests arrive at a replica, and at a token budget: how much is computed before each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headrace.perf.refill import ALONE, OPEN, Refill
from headrace.spec.fleet import Fleet

if TYPE_CHECKING:
    from headrace.planner.demand import Floats


def refill_of(fleet: Fleet, replicas: int) -> Refill:
    """How requests of the fleet's load follow each other at one of so many replicas."""
    if fleet.workload.stated_rate is not None:
        return OPEN
    if fleet.workload.refill == 1:
        return ALONE
    dealt = Refill(fleet.workload.refill, dealt_over=replicas)
    return dealt if fleet.gateway.policy != "none" else Refill(dealt.size)


def steps_between(arrivals: Floats, started: float) -> Floats:
    """Whole steps from each request to the next; `started` is how many come in a step."""
    return np.diff(np.floor(arrivals / started), prepend=0.0)


def ahead_tokens(prompts: Floats, between: Floats, room: float) -> Floats:
    """Prompt tokens that are computed before each request's own (Lindley's recursion).

    A step takes `room` of them.
    """
    change = np.append(0.0, prompts[:-1]) - room * between
    backlog = np.cumsum(change)
    ahead: Floats = backlog - np.minimum(0.0, np.minimum.accumulate(backlog))
    return ahead


def under_way_tokens(due: Floats, between: Floats, room: float) -> Floats:
    """Prompt tokens in the step during which each request comes.

    `due` is what had to be computed until each request's prompt was done.
    """
    left = np.append(0.0, due[:-1]) - np.maximum(0.0, between - 1) * room
    first = np.maximum.accumulate(np.where(between > 0, np.arange(len(due)), 0))
    under_way: Floats = np.clip(left[first], 0.0, room)
    return under_way
