"""The charts of a simulation, as its question asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace.report.chart import Axis, Chart, Mark, Series, Value
from headrace.report.words import number
from headrace.simulator.result import Simulation, SizeRow, SizeTry, Timeline
from headrace.simulator.scenario import POLICIES
from headrace.spec.slo import Metric


def charts(found: Simulation) -> list[Chart]:
    """Those that its question fills."""
    made = [*_scaling_charts(found), *_policy_charts(found), *_cause_charts(found)]
    made += [*_rate_charts(found), *_size_charts(found), *_day_charts(found), *_time(found)]
    return made


def _policy_charts(found: Simulation) -> list[Chart]:
    """One point for each way to choose: what it loses over how slow its slowest answers are."""
    ways = [
        (row.figures.latency_ms.tpot.p99, row)
        for row in found.policies
        if row.figures.latency_ms is not None
    ]
    ways.sort(key=lambda way: way[0])
    if not ways:
        return []
    series = tuple(
        Series(
            policy,
            [1 - row.share if row.policy == policy else None for _, row in ways],
            "points",
            f"run{index}",
        )
        for index, policy in enumerate(POLICIES)
        if any(row.policy == policy for _, row in ways)
    )
    return [
        Chart(
            id="policies",
            title="Routing policies",
            about="By how much each is below the best throughput, over its TPOT p99; the best is "
            "low and to the left.",
            x=[tpot for tpot, _ in ways],
            x_axis=Axis("TPOT p99", "ms"),
            y_axis=Axis("Lost", "share"),
            series=series,
            notes=tuple(f"{row.policy}: {row.settings}" for _, row in ways),
            noted="Policy",
        )
    ]


def _cause_charts(found: Simulation) -> list[Chart]:
    """What is left of the efficiency after each cause."""
    if not found.causes:
        return []
    whole = found.causes[0].total_tok_s
    return [
        Chart(
            id="causes",
            title="Where each percent goes",
            about="Lost so far with one cause after another, in the order of the table.",
            x=list(range(1, len(found.causes) + 1)),
            x_axis=Axis("Cause", "count"),
            y_axis=Axis("Lost", "share"),
            series=(
                Series(
                    "Lost so far",
                    [1 - row.total_tok_s / whole for row in found.causes],
                    "line",
                    "measured",
                ),
            ),
            notes=tuple(row.cause for row in found.causes),
            noted="Cause",
        )
    ]


def _size_charts(found: Simulation) -> list[Chart]:
    """Why not fewer: what was tried for each GPU type, and what each answer costs."""
    rows = [row for row in found.sizes if row.feasible]
    made = [
        _tried(found, rows, "tpot", lambda tried: tried.tpot_p99_ms),
        _tried(found, rows, "ttft", lambda tried: tried.ttft_p99_ms),
    ]
    return [chart for chart in [*made, _cost(rows)] if chart is not None]


def _tried(
    found: Simulation, rows: Sequence[SizeRow], name: Metric, figure: Callable[[SizeTry], Value]
) -> Chart | None:
    """A latency over the GPUs that are left when the spare ones are lost, beside its goal."""
    label = f"{name.upper()} p99"
    points = sorted(
        ((tried.gpus, index, tried) for index, row in enumerate(rows) for tried in row.tries),
        key=lambda point: point[:2],
    )
    if not points:
        return None
    series = tuple(
        Series(
            row.gpu,
            [figure(tried) if at == index else None for _, at, tried in points],
            "points",
            f"run{index % 6}",
        )
        for index, row in enumerate(rows)
    )
    return Chart(
        id=f"sizes-{name}",
        title=f"{label} over GPUs",
        about="Each point is a simulation of the load on so many GPUs, the spare ones left out.",
        x=[gpus for gpus, _, _ in points],
        x_axis=Axis("GPUs", "count"),
        y_axis=Axis(label, "ms"),
        series=(*series, *_goal(found, name, len(points))),
        notes=tuple(_judged(rows[at].gpu, tried) for _, at, tried in points),
        noted="Tried",
    )


def _goal(found: Simulation, name: Metric, points: int) -> list[Series]:
    limit_ms = found.goals_p99_ms.get(name)
    if limit_ms is None:
        return []
    return [Series("Goal", [limit_ms] * points, "line", "muted", dashed=True)]


def _judged(gpu: str, tried: SizeTry) -> str:
    kept = "carries the load" if tried.carries else "does not carry the load with the goals kept"
    return f"{tried.gpus:,} × {gpu}: {kept}"


def _cost(rows: Sequence[SizeRow]) -> Chart | None:
    """Only where there is something to compare."""
    priced = sorted(
        (row for row in rows if row.usd_per_million_tokens is not None and row.gpus is not None),
        key=lambda row: row.gpus or 0,
    )
    if len(priced) < 2:
        return None
    return Chart(
        id="sizes-cost",
        title="Cost over GPUs",
        about="USD per million tokens of the load that was asked for, spare GPUs included.",
        x=[row.gpus or 0 for row in priced],
        x_axis=Axis("GPUs", "count"),
        y_axis=Axis("USD per million tokens", "count"),
        series=tuple(
            Series(
                row.gpu,
                [row.usd_per_million_tokens if other is row else None for other in priced],
                "points",
                f"run{rows.index(row) % 6}",
            )
            for row in priced
        ),
        notes=tuple(row.gpu for row in priced),
        noted="GPU",
    )


def _scaling_charts(found: Simulation) -> list[Chart]:
    rows = found.scaling
    if not rows:
        return []
    series = [Series("Simulated", [1 - row.efficiency for row in rows], "line", "measured")]
    known = [row.published_total_tok_s for row in rows]
    if known[0] is not None and any(known):
        each = known[0] / rows[0].nodes
        shares = [1 - k / r.nodes / each if k else None for k, r in zip(known, rows, strict=True)]
        series.append(Series("Published", shares, "points", "second"))
    return [
        Chart(
            id="scaling",
            title="Lost in scaling",
            about="By how much the throughput per node is below the first row's, over nodes.",
            x=[row.nodes for row in rows],
            x_axis=Axis("Nodes", "count"),
            y_axis=Axis("Lost", "share"),
            series=tuple(series),
        )
    ]


def _rate_charts(found: Simulation) -> list[Chart]:
    rows = [row for row in found.rates if row.figures.latency_ms is not None]
    if not rows:
        return []
    x = [row.asked_request_s for row in rows]
    latency = [row.figures.latency_ms for row in rows]
    tpot = [item.tpot.p99 if item else None for item in latency]
    ttft = [item.ttft.p99 if item else None for item in latency]
    axis = Axis("Requests per second", "count")
    return [
        Chart(
            id=name.lower(),
            title=f"{name} p99 over requests per second",
            about="Poisson arrivals; where the line turns up, the fleet no longer keeps up.",
            x=x,
            x_axis=axis,
            y_axis=Axis(f"{name} p99", "ms"),
            series=(Series(f"{name} p99", values, "line", "measured"),),
        )
        for name, values in (("TPOT", tpot), ("TTFT", ttft))
    ]


def _day_charts(found: Simulation) -> list[Chart]:
    if not found.hours:
        return []
    axis = Axis("Hour", "count")
    x = [row.hour for row in found.hours]
    cost = [row.usd for row in found.hours]
    replicas = [row.replicas_mean for row in found.hours]
    return [
        Chart(
            "cost",
            "Cost by hour of the day",
            "USD for the replicas that took requests in each hour.",
            x,
            axis,
            Axis("USD", "count"),
            (Series("USD", cost, "bars", "measured"),),
        ),
        Chart(
            "replicas",
            "Replicas by hour of the day",
            "Mean number of replicas that took requests.",
            x,
            axis,
            Axis("Replicas", "count"),
            (Series("Replicas", replicas, "line", "measured"),),
        ),
    ]


def _time(found: Simulation) -> list[Chart]:
    line = found.timeline
    if line is None:
        return []
    marks = tuple(Mark(e.at_s, e.what, "bad") for e in found.events if "failed" in e.what)[:3]
    charts = [
        ("throughput", "Throughput over time", "Total tok/s", "rate", line.total_tok_s),
        ("flight", "Requests in flight", "Requests", "count", line.in_flight),
        ("ttft", "TTFT p99 over time", "TTFT p99", "ms", line.ttft_p99_ms),
    ]
    if len(set(line.ready)) > 1:
        charts.append(("ready", "Replicas that take requests", "Replicas", "count", line.ready))
    return [
        Chart(
            id=f"time-{name}",
            title=title,
            about=_bins(line) + (COUNTED if name == "throughput" else ""),
            x=line.at_s,
            x_axis=Axis("Seconds since the window's start", "s"),
            y_axis=Axis(label, style),  # type: ignore[arg-type]
            series=(Series(label, values, "line", "measured"),),  # type: ignore[arg-type]
            marks=marks,
        )
        for name, title, label, style, values in charts
    ]


COUNTED = " Input tokens count when their prompt is done, so that a rush of prompts is a peak."


def _bins(line: Timeline) -> str:
    return f"In bins of {number(line.at_s[0])} s." if line.at_s else ""
