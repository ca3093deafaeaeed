"""Goals for latencies at percentiles: one notion for the plan, the measurement and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, PositiveFloat

from headrace.spec.part import Part

Metric = Literal["ttft", "tpot", "e2e"]

METRICS: tuple[Metric, ...] = ("ttft", "tpot", "e2e")
PERCENTILES = (50, 90, 95, 99)


def _goal(metric: str, percentile: int) -> PositiveFloat | None:
    what = "the median" if percentile == 50 else f"the {percentile}th percentile"
    names = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "the whole request's time"}
    field: PositiveFloat | None = Field(None, description=f"Limit for {what} of {names[metric]}.")
    return field


class Slo(Part):
    """What the fleet must keep, in ms; a goal left out is not checked."""

    ttft_p50_ms: PositiveFloat | None = _goal("ttft", 50)
    ttft_p90_ms: PositiveFloat | None = _goal("ttft", 90)
    ttft_p95_ms: PositiveFloat | None = _goal("ttft", 95)
    ttft_p99_ms: PositiveFloat | None = _goal("ttft", 99)
    tpot_p50_ms: PositiveFloat | None = _goal("tpot", 50)
    tpot_p90_ms: PositiveFloat | None = _goal("tpot", 90)
    tpot_p95_ms: PositiveFloat | None = _goal("tpot", 95)
    tpot_p99_ms: PositiveFloat | None = _goal("tpot", 99)
    e2e_p50_ms: PositiveFloat | None = _goal("e2e", 50)
    e2e_p90_ms: PositiveFloat | None = _goal("e2e", 90)
    e2e_p95_ms: PositiveFloat | None = _goal("e2e", 95)
    e2e_p99_ms: PositiveFloat | None = _goal("e2e", 99)

    def limits(self) -> dict[str, float]:
        """The stated goals by field name, in ms."""
        return self.model_dump(exclude_none=True)

    def goals(self) -> tuple[Goal, ...]:
        """The stated goals."""
        return goals_of(self.limits())


@dataclass(frozen=True)
class Goal:
    """A latency's limit at one percentile."""

    metric: Metric
    percentile: int
    limit_ms: float

    @property
    def words(self) -> str:
        """`TPOT p99`."""
        name = self.metric if self.metric == "e2e" else self.metric.upper()
        return f"{name} p{self.percentile}"


GOAL_FIELDS: dict[str, tuple[Metric, int]] = {
    f"{metric}_p{percentile}_ms": (metric, percentile)
    for metric in METRICS
    for percentile in PERCENTILES
}
"""Every goal that can be stated, by its field's name."""


def goals_of(limits: Mapping[str, float]) -> tuple[Goal, ...]:
    """Goals from limits by field name (`tpot_p99_ms`). Raises KeyError for a name that is none."""
    return tuple(Goal(*GOAL_FIELDS[name], limit_ms) for name, limit_ms in limits.items())


def strictest(limits: Mapping[str, float]) -> dict[Metric, float]:
    """What one request must keep to count as good: each metric's limit at its highest percentile.

    A median's limit binds half of the requests only, so it judges none by itself where a higher
    percentile is stated too.
    """
    ordered = sorted(goals_of(limits), key=lambda goal: goal.percentile)
    return {goal.metric: goal.limit_ms for goal in ordered}
