"""The page of several runs side by side; ratios are against the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.report import charts, facts, proof
from headrace.report.balance import balance
from headrace.report.chart import Chart, Table
from headrace.report.data import RunData
from headrace.report.parts import Fact, Verdict
from headrace.report.words import NOTHING, milliseconds, number, plain, ratio, usd

Better = Literal["more", "less", "neither"]
PARITY = 0.02
"""Ratios this close to 1 are shown as equal."""


@dataclass(frozen=True)
class Cell:
    """One run's value of a metric, and how it compares with the first run's."""

    value: str
    note: str
    tone: Literal["good", "bad", "plain"]


@dataclass(frozen=True)
class Row:
    """A metric over all runs."""

    label: str
    cells: list[Cell]


@dataclass(frozen=True)
class Column:
    """A run's heading."""

    label: str
    name: str
    engine: str
    simulated: bool
    tone: str
    verdicts: list[Verdict]


@dataclass(frozen=True)
class ManyPage:
    """`compare.html.j2`'s view."""

    title: str
    heading: str
    simulated: str
    columns: list[Column]
    rows: list[Row]
    predicted: list[Row]
    over_time: list[Chart]
    latency: list[Chart]
    gaps: Table | None
    balance: Table
    settings: Table
    errors: Table
    environment: Table
    command: str
    identity: list[Fact] = field(default_factory=list)
    template: str = field(default="compare.html.j2")

    @property
    def charts(self) -> list[Chart]:
        """All that report.js draws."""
        return [*self.over_time, *self.latency]


METRICS: tuple[tuple[str, Better, Callable[[float | None], str], str], ...] = (
    ("Total tok/s", "more", number, "throughput.total_tok_s"),
    ("Output tok/s", "more", number, "throughput.output_tok_s"),
    ("Requests/s", "more", number, "throughput.request_s"),
    ("TPOT, mean", "less", milliseconds, "latency_ms.tpot.mean"),
    ("TPOT, p99", "less", milliseconds, "latency_ms.tpot.p99"),
    ("TTFT, mean", "less", milliseconds, "latency_ms.ttft.mean"),
    ("TTFT, p99", "less", milliseconds, "latency_ms.ttft.p99"),
    ("ITL, p99", "less", milliseconds, "latency_ms.itl.p99"),
    ("End to end, p99", "less", milliseconds, "latency_ms.e2e.p99"),
    ("USD per million tokens", "less", usd, "usd_per_million_tokens"),
    ("Goodput, requests/s", "more", number, "goodput.request_s"),
    ("Failed requests", "neither", number, "requests.failed"),
)


def many_page(runs: Sequence[RunData]) -> ManyPage:
    """The view of two runs or more."""
    labels = distinct(runs)
    shown = charts.named(runs, labels)
    return ManyPage(
        title=f"{_simulated_words(runs)}{len(runs)} runs side by side",
        heading=f"{len(runs)} runs side by side",
        simulated=_warning(shown),
        columns=[_column(item) for item in shown],
        rows=[_row(runs, *metric) for metric in METRICS],
        predicted=_predicted(shown),
        over_time=charts.over_time(shown),
        latency=charts.latency(shown),
        gaps=_gaps(shown),
        balance=_balance(shown),
        settings=_differences("Settings", shown, _settings),
        errors=_differences("Requests and errors", shown, _errors),
        environment=_differences("Environment", shown, _environment),
        command="headrace report " + " ".join(f"runs/{run.id}" for run in runs),
    )


def distinct(runs: Sequence[RunData]) -> list[str]:
    """The folders' names, numbered where two are alike."""
    ids = [run.id for run in runs]
    return [name if ids.count(name) == 1 else f"{name} #{i + 1}" for i, name in enumerate(ids)]


def _simulated_words(runs: Sequence[RunData]) -> str:
    if all(run.simulated for run in runs):
        return "Simulated · "
    return "Partly simulated · " if any(run.simulated for run in runs) else ""


def _warning(shown: Sequence[charts.Named]) -> str:
    simulated = [item.label for item in shown if item.run.simulated]
    if not simulated:
        return ""
    if len(simulated) == len(shown):
        return facts.SIMULATED_WARNING.replace("this run", "these runs")
    return f"Only in part: {', '.join(simulated)}. {facts.SIMULATED_WARNING}".replace(
        "this run", "those runs"
    )


def _column(item: charts.Named) -> Column:
    run = item.run
    return Column(
        label=item.label,
        name=facts.short_name(run),
        engine=facts.engine(run),
        simulated=run.simulated,
        tone=item.tone,
        verdicts=[proof.validity(run.summary), *proof.goals(run.plan, run.summary)],
    )


def _row(
    runs: Sequence[RunData],
    label: str,
    better: Better,
    say: Callable[[float | None], str],
    path: str,
) -> Row:
    first, *others = [_value(run, path) for run in runs]
    cells = [_cell(value, first, better, say) for value in others]
    return Row(label, [Cell(say(first), "", "plain"), *cells])


def _value(run: RunData, path: str) -> float | None:
    value: Any = run.summary
    for name in path.split("."):
        value = getattr(value, name) if value is not None else None
    return None if value is None else float(value)


def _cell(
    value: float | None, first: float | None, better: Better, say: Callable[[float | None], str]
) -> Cell:
    if value is None or not first or better == "neither":
        return Cell(say(value), "", "plain")
    quotient = value / first
    if abs(quotient - 1) <= PARITY:
        return Cell(say(value), ratio(quotient), "plain")
    if (quotient > 1) == (better == "more"):
        return Cell(say(value), f"{ratio(quotient)} better", "good")
    return Cell(say(value), f"{ratio(quotient)} worse", "bad")


def _predicted(shown: Sequence[charts.Named]) -> list[Row]:
    found = [{m.label: m for m in proof.measures(item.run)} for item in shown]
    labels = next((list(measures) for measures in found if measures), [])
    return [Row(label, [_against(measures.get(label)) for measures in found]) for label in labels]


def _against(measure: proof.Measure | None) -> Cell:
    if measure is None:
        return Cell(NOTHING, "", "plain")
    predicted = f"predicted {measure.say(measure.predicted)}"
    if measure.quotient is None:
        return Cell(NOTHING, predicted, "plain")
    return Cell(measure.say(measure.measured), f"{ratio(measure.quotient)} · {predicted}", "plain")


def _gaps(shown: Sequence[charts.Named]) -> Table | None:
    rows = tuple(
        (item.label, *(number(v) for v in vars(item.run.summary.latency_ms.itl).values()))
        for item in shown
        if item.run.summary and item.run.summary.latency_ms
    )
    columns = ("ITL in ms", "Mean", "p50", "p90", "p99", "Max")
    return Table("Gaps between chunks (ITL)", columns, rows) if rows else None


def _balance(shown: Sequence[charts.Named]) -> Table:
    rows = tuple((item.label, balance(item.run).about) for item in shown)
    return Table("Balance between replicas", ("Run", "Completed requests"), rows, numeric=False)


def _differences(
    caption: str, shown: Sequence[charts.Named], of: Callable[[RunData], dict[str, str]]
) -> Table:
    """One row per setting that any run has; those that differ come first, marked."""
    found = [of(item.run) for item in shown]
    names = list(dict.fromkeys(name for values in found for name in values))
    differs = {name for name in names if len({values.get(name) for values in found}) > 1}
    ordered = sorted(names, key=lambda name: name not in differs)
    rows = tuple(
        (f"≠ {name}" if name in differs else name, *(v.get(name, NOTHING) for v in found))
        for name in ordered
    )
    return Table(caption, ("", *(item.label for item in shown)), rows, numeric=False)


def _settings(run: RunData) -> dict[str, str]:
    if run.plan is None:
        return {"model": run.summary.model} if run.summary else {}
    plan, layout = run.plan, run.plan.chosen.layout
    load = plan.fleet.workload
    return {
        "model": plan.model,
        "GPUs": f"{plan.fleet.hardware.gpus} × {plan.gpu}",
        "replicas": f"{layout.replicas} × TP {layout.tensor_parallel}",
        "load": load.in_words,
        "gateway": plan.fleet.gateway.policy,
    } | {f"--{k.replace('_', '-')}": plain(v) for k, v in plan.chosen.engine_args.items()}


def _errors(run: RunData) -> dict[str, str]:
    requests, errors = facts.errors(run)
    return {fact.name: fact.value for fact in [*requests, *errors]}


def _environment(run: RunData) -> dict[str, str]:
    return {fact.name: fact.value for fact in facts.environment(run)}
