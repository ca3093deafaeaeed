"""Latencies that a candidate surely keeps below, at the cost of a few multiplications.

Most candidates are far within a goal or far beyond it; only for those between the percentiles are
worked out over the whole sample. What depends on the workload alone is tabulated once, on grids
that round to the safe side.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from headrace.planner.arrive import ahead_tokens, steps_between

if TYPE_CHECKING:
    from headrace.planner.demand import Demand, Floats
    from headrace.planner.latency import Serving

ROOMS = 4
"""The room for prompts in a step is rounded down to so many parts of the budget."""
STARTS = 1
"""Requests that start in a step are rounded up to the next of so many in a doubling."""
SHARES = 64
"""The spread of TPOT is rounded up to the next of so many in one."""


class Bounds:
    """Tables of one workload."""

    def __init__(self, demand: Demand) -> None:
        self._demand = demand
        self._steps: dict[tuple[int, int, float], Floats] = {}
        self._decoding: dict[int, Floats] = {}
        self._prompts: dict[int, Floats] = {}

    def prompts(self, found: Floats) -> Floats:
        """Tokens to be computed of each prompt, ascending; `found` of them are cached."""
        if id(found) not in self._prompts:
            self._prompts[id(found)] = np.sort(np.maximum(1.0, self._demand.prompts - found))
        return self._prompts[id(found)]

    def ttft_s(self, serving: Serving, room: float, batched_tokens: int, percentile: int) -> float:
        """Where prompts do not fill every step; infinite where decoding leaves hardly any room."""
        steady = serving.steady
        part = math.floor(ROOMS * room / batched_tokens)
        if part == 0:
            return math.inf
        full_s = steady.mixed_step_s * max(1.0, room / steady.mixed_tokens)
        steps = self._prefill_steps(serving, batched_tokens * part / ROOMS)
        return steady.slot_s + steady.decided_s + (1 + percentile_of(steps, percentile)) * full_s

    def _prefill_steps(self, serving: Serving, room: float) -> Floats:
        """Steps until each prompt of the sample is computed, ascending."""
        steady = serving.steady
        started = math.ceil(STARTS * math.log2(steady.request_s * steady.step_s))
        key = (id(serving.found), started, room)
        if key not in self._steps:
            order = self._demand.order
            prompts = np.maximum(1.0, self._demand.prompts - serving.found)[order]
            between = steps_between(self._demand.arrivals, 2 ** (started / STARTS))
            due = ahead_tokens(prompts, between, room) + prompts
            self._steps[key] = np.sort(np.ceil(due / room))
        return self._steps[key]

    def decoding(self, spread: float, percentile: int) -> float:
        """Mean TPOTs that an answer takes after its first token, where TPOT spreads so much."""
        share = math.ceil(SHARES * spread)
        if share not in self._decoding:
            slower = 1 + share / SHARES * np.maximum(0.0, self._demand.tpot_deviates)
            self._decoding[share] = np.sort(slower * (self._demand.outputs - 1))
        return percentile_of(self._decoding[share], percentile)


def percentile_of(ordered: Floats, percentile: int) -> float:
    """The value that so many per cent of an ascending sample do not exceed."""
    return float(ordered[round((len(ordered) - 1) * percentile / 100)])
