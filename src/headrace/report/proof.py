"""Predicted beside measured, with the plan's band, and the goals that were set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.loadgen.summary import Summary
from headrace.planner.plan import Plan
from headrace.report.chart import Table
from headrace.report.data import RunData
from headrace.report.parts import Bullet, Verdict
from headrace.report.words import milliseconds, number, ratio, usd


@dataclass(frozen=True)
class Measure:
    """A quantity that is both predicted and measured; `low` and `high` are the plan's band."""

    label: str
    predicted: float
    low: float | None
    high: float | None
    measured: float | None
    say: Callable[[float | None], str]

    @property
    def quotient(self) -> float | None:
        """Measured over predicted."""
        return self.measured / self.predicted if self.measured and self.predicted else None

    @property
    def within(self) -> bool | None:
        """Whether the measurement lies in the band; None where there is no band."""
        if self.measured is None or self.low is None or self.high is None:
            return None
        return self.low <= self.measured <= self.high


def measures(run: RunData) -> list[Measure]:
    """Every quantity that the plan predicts, in the order that the page shows them."""
    if run.plan is None:
        return []
    p, s = run.plan.chosen.prediction, run.summary
    low, high = p.low_total_tok_s / p.total_tok_s, p.high_total_tok_s / p.total_tok_s
    latency = s.latency_ms if s else None
    rates = s.throughput if s else None
    rows = [
        _rate("Total tok/s", p.total_tok_s, low, high, rates.total_tok_s if rates else None),
        _rate("Output tok/s", p.output_tok_s, low, high, rates.output_tok_s if rates else None),
        _rate("Requests/s", p.request_s, low, high, rates.request_s if rates else None),
        _time("TPOT, mean", p.tpot_ms, latency.tpot.mean if latency else None),
        _time("TPOT, p99", p.tpot_p99_ms, latency.tpot.p99 if latency else None),
        _time("TTFT, mean", p.ttft_ms, latency.ttft.mean if latency else None),
        _time("TTFT, p99", p.ttft_p99_ms, latency.ttft.p99 if latency else None),
    ]
    if p.usd_per_million_tokens is not None:
        cost = p.usd_per_million_tokens
        measured = s.usd_per_million_tokens if s else None
        rows.append(Measure("Cost per million", cost, cost / high, cost / low, measured, usd))
    return rows


def _rate(label: str, value: float, low: float, high: float, measured: float | None) -> Measure:
    return Measure(label, value, value * low, value * high, measured, number)


def _time(label: str, value: float, measured: float | None) -> Measure:
    return Measure(label, value, None, None, measured, milliseconds)


def comparison_table(rows: list[Measure], measured: str) -> Table:
    """Predicted, the band, measured, and their quotient."""
    return Table(
        "Predicted against measured",
        ("", "Predicted", "Band", measured, "Ratio"),
        tuple(
            (row.label, row.say(row.predicted), _band(row), row.say(row.measured), _quotient(row))
            for row in rows
        ),
    )


def _band(row: Measure) -> str:
    if row.low is None or row.high is None:
        return "–"
    return f"{row.say(row.low)} – {row.say(row.high)}"


def _quotient(row: Measure) -> str:
    return ratio(row.quotient)


def bullets(rows: list[Measure]) -> list[Bullet]:
    """One track per measure, each on its own scale."""
    return [_bullet(row) for row in rows]


def _bullet(row: Measure) -> Bullet:
    most = 1.12 * max(row.predicted, row.measured or 0.0, row.high or 0.0)
    scale = 100 / most if most else 0.0
    said = f"{row.label}: predicted {row.say(row.predicted)}"
    if row.low is not None:
        said += f", band {_band(row)}"
    if row.measured is not None:
        said += f", measured {row.say(row.measured)}"
    return Bullet(
        label=row.label,
        said=said,
        measured=None if row.measured is None else row.measured * scale,
        predicted=row.predicted * scale,
        low=None if row.low is None else row.low * scale,
        high=None if row.high is None else row.high * scale,
        note=_bullet_note(row),
    )


def _bullet_note(row: Measure) -> str:
    if row.measured is None:
        return f"predicted {row.say(row.predicted)}"
    place = {None: "", True: " · in the band", False: " · outside the band"}[row.within]
    return f"{row.say(row.measured)} · {ratio(row.quotient)} of predicted{place}"


def goals(plan: Plan | None, summary: Summary | None) -> list[Verdict]:
    """One verdict per goal of the SLO; none without a measurement to hold against it."""
    if plan is None or summary is None or summary.latency_ms is None:
        return []
    latency = summary.latency_ms
    return [
        _goal(goal.words, latency.at(goal.metric, goal.percentile), goal.limit_ms)
        for goal in plan.fleet.slo.goals()
    ]


def _goal(name: str, measured: float, goal: float) -> Verdict:
    kept = measured <= goal
    sign, word = ("≤", "kept") if kept else (">", "missed")
    return Verdict(
        "good" if kept else "bad",
        f"Goal {word}: {name} {milliseconds(measured)} {sign} {milliseconds(goal)}",
    )


def validity(summary: Summary | None) -> Verdict:
    """Whether the measurement can be relied on, and if not, why."""
    if summary is None:
        return Verdict("plain", "Not measured: every figure here is predicted")
    if summary.valid:
        return Verdict("good", "Valid measurement")
    return Verdict("bad", "Not a valid measurement", tuple(summary.invalid_reasons))
