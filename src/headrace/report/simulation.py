"""The page of a simulation: whatever lists its answer has, as cards, charts and tables."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.report.chart import Chart, Table
from headrace.report.page import rendered
from headrace.report.parts import Card, Fact
from headrace.report.simulation_charts import charts
from headrace.report.words import NOTHING, milliseconds, number, percent, seconds, usd
from headrace.simulator.result import Figures, Simulation, SizeRow

KIND = "simulated"
EVENTS = 30
"""Lines of a fleet's history that are shown."""
WARNING = (
    "Nothing on this page was measured. A fleet was simulated in virtual time: step times come "
    "from Headrace's performance model, batching from the scheduler that its simulated engine runs."
)


@dataclass(frozen=True)
class SimulationPage:
    """`simulation.html.j2`'s view."""

    title: str
    heading: str
    simulated: str
    question: str
    identity: list[Fact]
    cards: list[Card]
    charts: list[Chart]
    tables: list[Table]
    assumptions: list[str]
    command: str
    template: str = field(default="simulation.html.j2")


def simulation_page(found: Simulation) -> str:
    """The page as HTML."""
    return rendered(_view(found))


def _view(found: Simulation) -> SimulationPage:
    name = f"{found.name} on {found.gpus} × {found.gpu}"
    return SimulationPage(
        title=f"Simulated · {name}",
        heading=name,
        simulated=WARNING,
        question=found.question,
        identity=_identity(found),
        cards=_cards(found),
        charts=charts(found),
        tables=tables(found),
        assumptions=found.assumptions,
        command=found.command,
    )


def _identity(found: Simulation) -> list[Fact]:
    return [
        Fact("Model", found.model),
        Fact("Simulated time", seconds(found.simulated_s)),
        Fact("Took", seconds(found.elapsed_s)),
        Fact("Core", "compiled" if found.quick else "reference (numba is not installed)"),
    ]


def _cards(found: Simulation) -> list[Card]:
    if found.total_tok_s is None:
        return []
    rate = found.total_tok_s
    said = f"{rate / 1e6:.3f}M" if rate >= 1e6 else number(rate)
    cards = [Card("Throughput", said, "total tok/s", "input + output", KIND)]
    if found.latency_ms is not None:
        for label, d in (("TPOT", found.latency_ms.tpot), ("TTFT", found.latency_ms.ttft)):
            p99 = f"p99 {milliseconds(d.p99)}"
            cards.append(Card(label, milliseconds(d.p50), "median", p99, KIND))
    cards.append(Card("Cost", usd(found.usd_per_million_tokens), "per million", "tokens", KIND))
    failed = found.requests.get("failed", 0)
    completed = found.requests.get("completed", 0)
    done = f"{completed / 1e6:.2f}M" if completed >= 1e6 else f"{completed:,}"
    return [*cards, Card("Requests", done, "completed", f"{failed:,} failed", KIND)]


def tables(found: Simulation) -> list[Table]:
    """Those that its question fills."""
    made = [_scaling_table(found), _causes_table(found), _policy_table(found)]
    made += [_rate_table(found), _size_table(found), _hour_table(found), _event_table(found)]
    return [table for table in made if table.rows]


def _figure_cells(found: Figures) -> tuple[str, ...]:
    latency = found.latency_ms
    tpot, ttft = (latency.tpot.p99, latency.ttft.p99) if latency else (None, None)
    return number(found.total_tok_s), milliseconds(tpot), milliseconds(ttft), f"{found.failed:,}"


FIGURES = ("Total tok/s", "TPOT p99", "TTFT p99", "Failed")


def _scaling_table(found: Simulation) -> Table:
    columns = ["Nodes", "GPUs", "In flight per replica", "Total tok/s", "Efficiency", "TPOT p50"]
    published = any(row.published_total_tok_s for row in found.scaling)
    rows = []
    for row in found.scaling:
        cells = [str(row.nodes), str(row.gpus), number(row.in_flight_per_replica)]
        cells += [number(row.total_tok_s), percent(row.efficiency), milliseconds(row.tpot_p50_ms)]
        if published:
            known = row.published_total_tok_s
            cells += [number(known), f"{row.total_tok_s / known - 1:+.1%}" if known else NOTHING]
        rows.append(tuple(cells))
    extra = ["Published tok/s", "Simulated against it"] if published else []
    return Table("Scaling, simulated", tuple(columns + extra), tuple(rows))


def _causes_table(found: Simulation) -> Table:
    rows = [
        (row.cause, number(row.total_tok_s), f"{row.points:+.2f}" if i else NOTHING)
        for i, row in enumerate(found.causes)
    ]
    columns = ("One cause after another", "Total tok/s", "Points of efficiency")
    return Table("Where each percent goes, simulated", columns, tuple(rows))


def _policy_table(found: Simulation) -> Table:
    shared = any(row.figures.prefix_hit_rate is not None for row in found.policies)
    rows = tuple(
        (
            f"{row.policy}: {row.settings}",
            *_figure_cells(row.figures),
            percent(row.share),
            percent(row.imbalance),
            *([percent(row.figures.prefix_hit_rate or 0.0)] if shared else []),
        )
        for row in found.policies
    )
    hits = ("Prefix hits",) if shared else ()
    columns = ("Policy", *FIGURES, "Of the best", "Spread over replicas", *hits)
    return Table("Routing policies, simulated", columns, rows)


def _rate_table(found: Simulation) -> Table:
    rows = tuple(
        (
            number(row.asked_request_s),
            *_figure_cells(row.figures),
            "yes" if row.keeps_slo else "no",
        )
        for row in found.rates
    )
    return Table("Arrival rates, simulated", ("Requests/s", *FIGURES, "Keeps the SLO"), rows)


def _size_table(found: Simulation) -> Table:
    rows = tuple(_size_cells(row) for row in found.sizes)
    counts = ("GPU", "GPUs", "Nodes", "Of them spare", "GPUs per replica")
    columns = (*counts, "TPOT p99", "TTFT p99", "USD per hour", "USD per million tokens")
    return Table("Fewest GPUs, simulated with the spare nodes lost", columns, rows)


def _size_cells(row: SizeRow) -> tuple[str, ...]:
    if not row.feasible or row.after_loss is None:
        return (row.gpu, row.reason or "not feasible", *[NOTHING] * 7)
    _, tpot, ttft, _ = _figure_cells(row.after_loss)
    cost = (usd(row.usd_per_hour), usd(row.usd_per_million_tokens))
    counts = (row.gpus, row.nodes, row.spare_nodes, row.gpus_per_replica)
    return (row.gpu, *(f"{count:,}" for count in counts if count is not None), tpot, ttft, *cost)


def _hour_table(found: Simulation) -> Table:
    rows = tuple(
        (
            f"{row.hour:02d}:00",
            number(row.asked_request_s),
            number(row.replicas_mean),
            milliseconds(row.tpot_p99_ms),
            milliseconds(row.ttft_p99_ms),
            f"{row.failed:,}",
            usd(row.usd),
            usd(row.usd_per_million_tokens),
        )
        for row in found.hours
    )
    columns = ("Hour", "Requests/s", "Replicas", "TPOT p99", "TTFT p99", "Failed")
    return Table("By hour, simulated", (*columns, "USD", "USD per million tokens"), rows)


def _event_table(found: Simulation) -> Table:
    rows = [(seconds(e.at_s), e.what, str(e.ready)) for e in found.events[:EVENTS]]
    more = len(found.events) - len(rows)
    if more > 0:
        rows.append(("later", f"{more:,} more events, in simulation.json", NOTHING))
    return Table(
        "What happened, simulated", ("At", "Event", "Replicas ready"), tuple(rows), numeric=False
    )
