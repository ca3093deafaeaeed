"""The charts of a page, from one run or from several laid over each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headrace.report.chart import Axis, Chart, Mark, Series, Shade, Value, values
from headrace.report.data import RunData
from headrace.report.records import Records
from headrace.report.series import (
    Floats,
    cdf,
    histogram,
    in_flight,
    shared_grid,
    spread_rate,
    time_edges,
)
from headrace.report.words import config, milliseconds

TONES = 6
"""Colours for runs; more runs take them from the start again."""

SLACK_S = 0.1
"""The timeline's last bin may end this much before the last request does."""

LATENCIES = {
    "ttft": ("TTFT", "request sent to first token"),
    "tpot": ("TPOT", "time per output token after the first"),
    "e2e": ("End to end", "request sent to its end"),
}


@dataclass(frozen=True)
class Named:
    """A run and what it is called on the page."""

    run: RunData
    label: str
    tone: str


def named(runs: Sequence[RunData], labels: Sequence[str]) -> list[Named]:
    """Each run with a colour of its own; a lone run has the colour of measured things."""
    if len(runs) == 1:
        return [Named(runs[0], labels[0], "measured")]
    return [
        Named(run, label, f"run{i % TONES}")
        for i, (run, label) in enumerate(zip(runs, labels, strict=True))
    ]


def window(run: RunData) -> tuple[float, float] | None:
    """The measured window in seconds since the run's start.

    It ends with the last request that counted, and is as long as the summary says.
    """
    if run.records is None or not run.records.counted.any():
        return None
    counted = run.records.measured
    end = float(np.nanmax(counted.done_s))
    begin = end - run.summary.duration_s if run.summary else float(np.nanmin(counted.sent_s))
    return max(0.0, begin), end


def over_time(runs: Sequence[Named]) -> list[Chart]:
    """Throughput and requests in flight, on one time axis."""
    recorded = [(item, item.run.records) for item in runs if item.run.records is not None]
    recorded = [(item, records) for item, records in recorded if records.end_s > 0]
    if not recorded:
        return []
    edges = time_edges(max(records.end_s for _, records in recorded))
    if len(runs) == 1:
        return [
            _throughput_of_one(runs[0].run, recorded[0][1], edges),
            _in_flight(recorded, edges, _asked(runs[0].run, len(edges) - 1)),
        ]
    return [_throughput_of_many(recorded, edges), _in_flight(recorded, edges, ())]


def _throughput_of_one(run: RunData, records: Records, edges: Floats) -> Chart:
    total = _total_rate(records, edges)
    top = _top([(run, total)], edges)
    return Chart(
        id="throughput",
        title="Throughput over time",
        about=f"{_spread_words(edges)} {_arrival_words(run)}{_cut_words(total, top)}",
        x=_centres(edges),
        x_axis=Axis("Seconds since the start", "s"),
        y_axis=Axis("Tokens per second", "rate"),
        series=(
            Series("Total tok/s", values(total), "area", "measured"),
            Series("Output tok/s", values(_output_rate(run, records, edges)), "line", "second"),
            *_predicted_line(run, edges),
        ),
        shades=(*_window_shade(run), *_band_shade(run)),
        top=top,
    )


def _throughput_of_many(recorded: list[tuple[Named, Records]], edges: Floats) -> Chart:
    rates = [(item, records, _total_rate(records, edges)) for item, records in recorded]
    top = _top([(item.run, rate) for item, _, rate in rates], edges)
    highest = np.concatenate([rate for _, _, rate in rates])
    return Chart(
        id="throughput",
        title="Total throughput over time",
        about=f"{_spread_words(edges)} Each run from its own start.{_cut_words(highest, top)}",
        x=_centres(edges),
        x_axis=Axis("Seconds since the start", "s"),
        y_axis=Axis("Total tokens per second", "rate"),
        series=tuple(
            Series(item.label, _until(rate, records.end_s, edges), "line", item.tone)
            for item, records, rate in rates
        ),
        top=top,
    )


def _top(rates: list[tuple[RunData, Floats]], edges: Floats) -> float:
    """The largest rate of the measured windows, or the top of a plan's band if that is higher.

    The first wave asks for few output tokens but brings all its input, so it peaks far above
    what is measured; scaled to that peak, the measured window would be a flat line.
    """
    tops = []
    for run, rate in rates:
        begin, end = window(run) or (0.0, float(edges[-1]))
        inside = rate[(edges[1:] > begin) & (edges[:-1] < end)]
        tops.append(float(inside.max(initial=0.0)))
        if run.plan is not None and len(rates) == 1:
            tops.append(run.plan.chosen.prediction.high_total_tok_s)
    return max(tops) or float(max(rate.max(initial=0.0) for _, rate in rates))


def _spread_words(edges: Floats) -> str:
    return (
        "Total: input and output tokens of each request spread evenly between its first and its "
        f"last token, in bins of {edges[1] - edges[0]:g} s."
    )


def _arrival_words(run: RunData) -> str:
    if run.timeline is None:
        return "Output: the same without input tokens."
    return "Output: chunks as they arrived."


def _cut_words(rate: Floats, top: float) -> str:
    if rate.max(initial=0.0) <= top * 1.16:
        return ""
    return " The warm-up's first wave, whose answers are short, rises above the chart."


def _in_flight(
    recorded: list[tuple[Named, Records]], edges: Floats, asked: tuple[Series, ...]
) -> Chart:
    style = "area" if len(recorded) == 1 else "line"
    lines = tuple(
        Series(
            "In flight" if len(recorded) == 1 else item.label,
            _until(in_flight(records.sent_s, _ended(records), edges), records.end_s, edges),
            "area" if style == "area" else "line",
            item.tone,
        )
        for item, records in recorded
    )
    return Chart(
        id="in-flight",
        title="Requests in flight",
        about="Requests sent and not yet ended, mean of each bin, over all replicas.",
        x=_centres(edges),
        x_axis=Axis("Seconds since the start", "s"),
        y_axis=Axis("Requests", "count"),
        series=(*lines, *asked),
        shades=_window_shade(recorded[0][0].run) if len(recorded) == 1 else (),
    )


def _ended(records: Records) -> Floats:
    """When each request left: requests without an end stayed to the end of the run."""
    return np.where(np.isfinite(records.done_s), records.done_s, records.end_s)


def _total_rate(records: Records, edges: Floats) -> Floats:
    taken, given = records.delivered()
    return spread_rate(records.first_token_s, records.last_token_s, taken + given, edges)


def _output_rate(run: RunData, records: Records, edges: Floats) -> Floats:
    """As the chunks arrived, where that was recorded."""
    if run.timeline is None or not len(run.timeline.at_s):
        return spread_rate(
            records.first_token_s, records.last_token_s, records.delivered()[1], edges
        )
    at_s, rate = run.timeline.at_s, run.timeline.output_tok_s
    begin_s = np.concatenate(([0.0], at_s[:-1]))
    rates = spread_rate(begin_s, at_s, rate * (at_s - begin_s), edges)
    return np.where(edges[1:] <= at_s[-1] + SLACK_S, rates, np.nan)


def _centres(edges: Floats) -> list[float]:
    return [float(c) for c in (edges[:-1] + edges[1:]) / 2]


def _until(rates: Floats, end_s: float, edges: Floats) -> list[Value]:
    """A run's line stops with the last bin that the run fills."""
    whole = edges[1:] <= end_s * (1 + 1e-9)
    return values(np.where(whole, rates, np.nan))


def _predicted_line(run: RunData, edges: Floats) -> tuple[Series, ...]:
    span = window(run)
    if run.plan is None or span is None:
        return ()
    centres = np.asarray(_centres(edges))
    inside = (centres >= span[0]) & (centres <= span[1])
    line = np.where(inside, run.plan.chosen.prediction.total_tok_s, np.nan)
    return (Series("Predicted total tok/s", values(line), "line", "predicted", dashed=True),)


def _asked(run: RunData, bins: int) -> tuple[Series, ...]:
    asked = run.summary.concurrency.asked if run.summary else None
    if asked is None:
        return ()
    return (Series("Asked for", [float(asked)] * bins, "line", "muted", dashed=True),)


def _window_shade(run: RunData) -> tuple[Shade, ...]:
    span = window(run)
    return (Shade(*span, "measured window"),) if span else ()


def _band_shade(run: RunData) -> tuple[Shade, ...]:
    span = window(run)
    if run.plan is None or span is None:
        return ()
    p = run.plan.chosen.prediction
    return (Shade(*span, "", "predicted", p.low_total_tok_s, p.high_total_tok_s),)


def latency(runs: Sequence[Named]) -> list[Chart]:
    """One chart per latency: a histogram of one run, cumulative shares of several."""
    samples = {
        name: [(item, _sample(item.run, name)) for item in runs if item.run.records is not None]
        for name in LATENCIES
    }
    build = _histogram if len(runs) == 1 else _cumulative
    charts = [build(name, found) for name, found in samples.items() if found]
    return [chart for chart in charts if chart is not None]


def _sample(run: RunData, name: str) -> Floats:
    if run.records is None:
        return np.zeros(0)
    sample: Floats = getattr(run.records.measured, f"{name}_ms")
    return sample[np.isfinite(sample)]


def _histogram(name: str, found: list[tuple[Named, Floats]]) -> Chart | None:
    item, sample = found[0]
    bins = histogram(sample)
    if bins is None:
        return None
    title, meaning = LATENCIES[name]
    p50, p99 = (float(np.percentile(sample, q)) for q in (50, 99))
    return Chart(
        id=name,
        title=title,
        about=(
            f"{title}: {meaning}, {len(sample):,} measured requests. "
            f"Half are below {milliseconds(p50)}, 99 of 100 below {milliseconds(p99)}."
        ),
        x=[float(c) for c in bins.centres],
        x_axis=Axis("Milliseconds", "ms"),
        y_axis=Axis("Share of requests", "share"),
        series=(Series("Share of requests", values(bins.shares), "bars", item.tone),),
        marks=(
            Mark(p50, "p50", "ink"),
            Mark(p99, "p99", "ink"),
            *_predicted_mark(item.run, name),
        ),
    )


def _predicted_mark(run: RunData, name: str) -> tuple[Mark, ...]:
    if run.plan is None or name not in ("ttft", "tpot"):
        return ()
    p = run.plan.chosen.prediction
    return (Mark(p.ttft_ms if name == "ttft" else p.tpot_ms, "predicted mean", "predicted"),)


def _cumulative(name: str, found: list[tuple[Named, Floats]]) -> Chart | None:
    grid = shared_grid([sample for _, sample in found])
    if not len(grid):
        return None
    title, meaning = LATENCIES[name]
    return Chart(
        id=name,
        title=title,
        about=f"{title}: {meaning}. Share of measured requests at or below each value.",
        x=[float(g) for g in grid],
        x_axis=Axis("Milliseconds", "ms"),
        y_axis=Axis("Share of requests", "share"),
        series=tuple(
            Series(item.label, values(cdf(sample, grid)), "line", item.tone)
            for item, sample in found
        ),
    )


def pareto(run: RunData) -> Chart | None:
    """Throughput per GPU against TPOT: the front, the choice on it, and what was measured."""
    if run.plan is None or not run.plan.pareto:
        return None
    prediction = run.plan.chosen.prediction
    points = [(p.tpot_ms, p.total_tok_s_per_gpu, 0, config(p.config)) for p in run.plan.pareto]
    chosen = (prediction.tpot_ms, prediction.total_tok_s_per_gpu, 1, "the chosen configuration")
    points = sorted([*points, chosen, *_measured_point(run)])
    return Chart(
        id="pareto",
        title="Pareto front",
        about=(
            f"Each of the {len(run.plan.pareto)} points is a configuration that no other beats "
            "in both throughput per GPU and TPOT. All predicted, but the measured point."
        ),
        x=[p[0] for p in points],
        x_axis=Axis("TPOT in ms", "ms"),
        y_axis=Axis("Total tok/s per GPU", "rate"),
        series=(
            Series("Front, predicted", _pick(points, 0), "line", "muted"),
            Series("Chosen, predicted", _pick(points, 1), "points", "predicted"),
            Series(run.measured, _pick(points, 2), "points", "measured"),
        ),
        notes=tuple(p[3] for p in points),
    )


Point = tuple[float, float, int, str]


def _measured_point(run: RunData) -> list[Point]:
    if run.summary is None or run.summary.latency_ms is None or run.plan is None:
        return []
    rate = run.summary.throughput.total_tok_s / run.plan.chosen.layout.gpus
    return [(run.summary.latency_ms.tpot.mean, rate, 2, "measured")]


def _pick(points: list[Point], kind: int) -> list[Value]:
    return [p[1] if p[2] == kind else None for p in points]
