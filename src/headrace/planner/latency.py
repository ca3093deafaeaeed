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

    def __init__(self, serving: Serving, demand: Demand, batched_tokens: int) -> None:
        self._serving, self._demand, self._batched = serving, demand, batched_tokens

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
            return Spread.of(self._ttfts_s + self._tpots_s * (self._demand.outputs - 1))
        steps = self._serving.load.output_tokens - 1
        mean_s = self.ttft.mean_s + steps * self.tpot.mean_s
        apart_s = math.hypot(
            self.ttft.at_s[99] - self.ttft.mean_s, steps * (self.tpot.at_s[99] - self.tpot.mean_s)
        )
        return Spread.between(mean_s, mean_s + apart_s)

    @cached_property
    def _ttfts_s(self) -> Floats:
        """Of every request: its turn in the queue, its own prompt, and chance in the steps."""
        steady, demand = self._serving.steady, self._demand
        prompts = np.maximum(1.0, demand.prompts - self._serving.found)
        decoded = steady.decoding * (1 + self._serving.load.mtp_depth)
        steps = np.maximum(1.0, np.ceil(prompts / max(1.0, self._batched - decoded)))
        own_s = (steps - steps.mean()) * steady.mixed_step_s
        spread_s = (steady.ttft_p99_s - steady.ttft_s) / NORMAL[99] * self._unevenness
        jitter_s = spread_s * demand.normal("first")
        rest_s = steady.ttft_s - steady.queue_s
        served_s: Floats = np.maximum(rest_s + own_s + jitter_s, steady.mixed_step_s)
        return served_s + self._waits_s

    @cached_property
    def _waits_s(self) -> Floats:
        """Who meets a free token budget waits for nothing, the others exponentially long."""
        steady = self._serving.steady
        busy = min(1.0, max(steady.budget_share, 1e-3))
        over = self._demand.chance("wait") / busy
        return steady.queue_s / busy * -np.log(np.minimum(1.0, over))

    @cached_property
    def _tpots_s(self) -> Floats:
        """Of every request: how many prompts, and how long ones, fell into its time.

        They come by chance (Poisson), so that they weigh more in a short answer.
        """
        steady, demand = self._serving.steady, self._demand
        met = steady.request_s * steady.tpot_s * demand.output_tokens
        prompts = (1 - steady.idle_step_s / steady.step_s) * math.sqrt(self._unevenness / met)
        share = math.hypot(prompts, (steady.tpot_p99_s / steady.tpot_s - 1) / NORMAL[99])
        wide = np.sqrt(demand.output_tokens / demand.outputs)
        slowest = steady.idle_step_s / steady.step_s
        return steady.tpot_s * np.maximum(slowest, 1 + share * wide * demand.normal("next"))

    @property
    def _unevenness(self) -> float:
        """Mean square of a computed prompt over its squared mean."""
        return 1 + self._serving.load.prompt_variation


def missed(goals: tuple[Goal, ...], latencies: Latencies) -> str | None:
    """The first goal that is missed, in words."""
    for goal in goals:
        predicted_ms = latencies.of(goal.metric).at_s[goal.percentile] * 1e3
        if predicted_ms > goal.limit_ms:
            return f"{goal.words} {predicted_ms:.0f} ms misses the SLO of {goal.limit_ms:g}"
    return None
