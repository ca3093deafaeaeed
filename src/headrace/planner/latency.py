"""Latency percentiles of a steady state. Predicted, like all that it is made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from headrace.perf.steady import Load, SteadyState
from headrace.perf.step import StepModel
from headrace.planner.arrive import ahead_tokens, steps_between, under_way_tokens
from headrace.planner.bounds import percentile_of
from headrace.spec.slo import PERCENTILES, Goal, Metric

if TYPE_CHECKING:
    from headrace.planner.demand import Demand, Floats

NORMAL = {percentile: NormalDist().inv_cdf(percentile / 100) for percentile in PERCENTILES}
"""Standard deviations above the mean at which a percentile of a normal distribution lies."""


@dataclass(frozen=True)
class Serving:
    """One replica at work: its steady state and the load that it is the state of."""

    steady: SteadyState
    load: Load
    found: Floats
    """Cached tokens of every request of the sample."""
    kept: float
    """Share of conversations that are still cached at their next turn."""


@dataclass(frozen=True)
class Spread:
    """One latency over the requests of a steady state, in seconds."""

    mean_s: float
    at_s: Mapping[int, float]
    """By percentile."""

    @classmethod
    def between(cls, mean_s: float, p99_s: float) -> Spread:
        """The percentiles between a mean and a p99 as a normal distribution has them."""
        step_s = (p99_s - mean_s) / NORMAL[99]
        return cls(mean_s, {p: max(0.0, mean_s + NORMAL[p] * step_s) for p in PERCENTILES})

    @classmethod
    def of(cls, values_s: Floats) -> Spread:
        """The percentiles of a sample."""
        ordered, last = np.sort(values_s), len(values_s) - 1
        at_s = {p: float(ordered[round(last * p / 100)]) for p in PERCENTILES}
        return cls(float(values_s.mean()), at_s)


class Latencies:
    """TTFT, TPOT and the whole request's time, each worked out when it is asked for."""

    def __init__(
        self, serving: Serving, demand: Demand, model: StepModel, batched_tokens: int
    ) -> None:
        self._serving, self._demand = serving, demand
        self._model, self._batched = model, batched_tokens

    def of(self, metric: Metric) -> Spread:
        """One of them."""
        spread: dict[Metric, Callable[[], Spread]] = {
            "ttft": lambda: self.ttft,
            "tpot": lambda: self.tpot,
            "e2e": lambda: self.e2e,
        }
        return spread[metric]()

    @cached_property
    def ttft(self) -> Spread:
        """From a request to its first token."""
        steady = self._serving.steady
        if self._demand.fixed:
            return Spread.between(steady.ttft_s, steady.ttft_p99_s)
        return Spread.of(self._ttfts_s)

    @cached_property
    def tpot(self) -> Spread:
        """Per token after the first; answers of one token have none."""
        steady = self._serving.steady
        if self._demand.fixed:
            return Spread.between(steady.tpot_s, steady.tpot_p99_s)
        return Spread.of(self._tpots_s[self._demand.outputs > 1])

    @cached_property
    def e2e(self) -> Spread:
        """From a request to the end of its answer."""
        if not self._demand.fixed:
            decoding_s = self._tpots_s * (self._demand.outputs - 1)
            return Spread.of(self._ttfts_s + decoding_s[self._demand.order])
        steps = self._serving.load.output_tokens - 1
        mean_s = self.ttft.mean_s + steps * self.tpot.mean_s
        apart_s = math.hypot(
            self.ttft.at_s[99] - self.ttft.mean_s, steps * (self.tpot.at_s[99] - self.tpot.mean_s)
        )
        return Spread.between(mean_s, mean_s + apart_s)

    def at(self, metric: Metric, percentile: int) -> float:
        """One percentile of one of them, in seconds."""
        if not self._demand.fixed:
            if metric == "tpot":
                deviates = self._demand.tpot_deviates_in_order
                deviate = np.array(percentile_of(deviates, percentile))
                return float(self._tpots_s_at(deviate))
            if metric == "ttft" and self._full:
                return self._full_loop_s(percentile)
        return self.of(metric).at_s[percentile]

    def surely_within(self, goal: Goal) -> bool:
        """Whether a goal is kept by far, which costs less to tell than by how much."""
        if self._demand.fixed or goal.metric == "tpot":
            return False
        bounds = self._demand.bounds
        percentile = goal.percentile if goal.metric == "ttft" else 100
        if self._full:
            bound_s = self._full_loop_s(percentile)
        else:
            bound_s = bounds.ttft_s(self._serving, self._room, self._batched, percentile)
            per_token_s = self._model.prefill_attention_s_per_context_token
            bound_s += per_token_s * self._demand.largest_attention
        if goal.metric == "e2e":
            slower = bounds.decoding(self._tpot_spread, goal.percentile)
            bound_s += self._serving.steady.tpot_s * slower
        return bound_s <= goal.limit_ms / 1e3

    @property
    def _full(self) -> bool:
        """Prompts fill every step: who comes waits for all that others in the loop have sent."""
        return self._serving.steady.budget_share >= 1

    def _full_loop_s(self, percentile: int) -> float:
        """TTFT by the percentile of the prompt, since all wait the same."""
        prompts = self._demand.bounds.prompts(self._serving.found)
        prompt = np.array([percentile_of(prompts, percentile)])
        return float(self._full_loop_ttfts_s(prompt)[0])

    def _full_loop_ttfts_s(self, prompts: Floats) -> Floats:
        """The step under way, then those before the prompt's own, all of them full."""
        steady, room = self._serving.steady, self._room
        due = prompts + (steady.queue_s - steady.slot_s) / steady.mixed_step_s * room
        whole = np.ceil(due / room) - 1
        ttfts_s: Floats = (1 + whole) * steady.mixed_step_s + self._step_s(due - whole * room)
        return steady.slot_s + steady.decided_s + ttfts_s

    @property
    def _room(self) -> float:
        """Tokens of a step that decoding leaves for prompts."""
        return max(1.0, self._batched - self._serving.steady.decoding * self._model.verified)

    @cached_property
    def _ttfts_s(self) -> Floats:
        """Of the requests as they arrive, by going through the steps that compute their prompts.

        The requests of the sample come one after the other, by chance so many in a step (Poisson).
        Each waits for a slot, for the end of the step under way and of one that is decided, and
        then for the prompts before it: steps take as many tokens from the head of the queue as
        decoding leaves of the budget, and last as long as the tokens in them ask for.
        """
        steady, order, room = self._serving.steady, self._demand.order, self._room
        found = self._serving.found[order]
        prompts = np.maximum(1.0, self._demand.prompts[order] - found)
        if self._full:
            return self._full_loop_ttfts_s(prompts)
        between = steps_between(self._demand.arrivals, steady.request_s * steady.step_s)
        due = ahead_tokens(prompts, between, room) + prompts
        whole = np.ceil(due / room) - 1
        beside = np.where(between[1:] <= whole[:-1], prompts[1:], 0.0)
        last = np.minimum(room, due - whole * room + np.append(beside, 0.0))
        ttfts_s: Floats = (
            steady.slot_s
            + steady.decided_s
            + self._step_s(under_way_tokens(due, between, room))
            + whole * self._step_s(np.array([room]))
            + self._step_s(last)
            + self._own_attention_s(prompts, found)
        )
        return ttfts_s

    def _own_attention_s(self, prompts: Floats, found: Floats) -> Floats:
        """What a prompt's attention takes over that of as many tokens of the mean prompt."""
        further = found + prompts / 2 - self._serving.load.attended_tokens
        return self._model.prefill_attention_s_per_context_token * prompts * further

    def _step_s(self, tokens: Floats) -> Floats:
        """Seconds of steps by the prompt tokens in them."""
        seconds: Floats = np.interp(tokens, *self._curve)
        return seconds

    @cached_property
    def _curve(self) -> tuple[list[float], list[float]]:
        """Prompt tokens in a step, and the seconds that it takes."""
        steady, load = self._serving.steady, self._serving.load

        def with_prompt(tokens: float) -> float:
            return self._model.step_s(load.batch(steady.decoding, tokens))

        tokens = [0.0, 1.0, steady.mixed_tokens, self._room]
        return tokens, [
            steady.idle_step_s,
            with_prompt(1.0),
            steady.mixed_step_s,
            with_prompt(self._room),
        ]

    @cached_property
    def _tpots_s(self) -> Floats:
        """Of every request: how many prompts, and how long ones, fell into its time."""
        return self._tpots_s_at(self._demand.tpot_deviates)

    def _tpots_s_at(self, deviates: Floats) -> Floats:
        """TPOT of requests that are so many deviations off; never below steps without prompts."""
        steady = self._serving.steady
        least = steady.idle_step_s / steady.step_s
        tpots_s: Floats = steady.tpot_s * np.maximum(least, 1 + self._tpot_spread * deviates)
        return tpots_s

    @cached_property
    def _tpot_spread(self) -> float:
        """Relative deviation of TPOT in an answer of mean length.

        Prompts come by chance (Poisson), so that they weigh more in a short answer.
        """
        steady, demand = self._serving.steady, self._demand
        met = steady.request_s * steady.tpot_s * demand.output_tokens
        prompts = (1 - steady.idle_step_s / steady.step_s) * math.sqrt(self._unevenness / met)
        return math.hypot(prompts, (steady.tpot_p99_s / steady.tpot_s - 1) / NORMAL[99])

    @property
    def _unevenness(self) -> float:
        """Mean square of a computed prompt over its squared mean."""
        return 1 + self._serving.load.prompt_variation


def missed(goals: tuple[Goal, ...], latencies: Latencies) -> str | None:
    """The first goal that is missed, in words."""
    for goal in goals:
        if latencies.surely_within(goal):
            continue
        predicted_ms = latencies.at(goal.metric, goal.percentile) * 1e3
        if predicted_ms > goal.limit_ms:
            return f"{goal.words} {predicted_ms:.0f} ms misses the SLO of {goal.limit_ms:g}"
    return None
