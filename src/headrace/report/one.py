"""The page of one run: everything that its template shows, in the order of the page."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.loadgen.summary import Distribution, Latency, Summary
from headrace.planner.plan import Plan, Prediction
from headrace.report import charts, facts, proof
from headrace.report.balance import Balance, balance
from headrace.report.chart import Chart, Table
from headrace.report.data import RunData
from headrace.report.parts import Bar, Bullet, Card, Command, Fact, Verdict
from headrace.report.words import milliseconds, number, usd

LATENCY_NAMES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2e": "End to end"}


@dataclass(frozen=True)
class PlanView:
    """What the plan chose, why, and what it turned down."""

    about: list[Fact]
    why: list[str]
    flags: Table
    memory: list[Bar]
    memory_facts: list[Fact]
    pareto: Chart | None
    rejected: Table | None


@dataclass(frozen=True)
class OnePage:
    """`run.html.j2`'s view."""

    title: str
    heading: str
    simulated: str
    measured: str
    identity: list[Fact]
    verdicts: list[Verdict]
    cards: list[Card]
    comparison: Table | None
    bullets: list[Bullet]
    over_time: list[Chart]
    latency: list[Chart]
    percentiles: Table | None
    gaps: list[Bar]
    balance: Balance | None
    plan: PlanView | None
    cost: list[Fact]
    gpus: Table | None
    requests: list[Fact]
    errors: list[Fact]
    client: list[Fact]
    environment: list[Fact]
    commands: list[Command]
    fleet_yaml: str | None
    has_records: bool
    template: str = field(default="run.html.j2")

    @property
    def charts(self) -> list[Chart]:
        """All that report.js draws."""
        front = [self.plan.pareto] if self.plan and self.plan.pareto else []
        return [*self.over_time, *self.latency, *front]


def one_page(run: RunData) -> OnePage:
    """The view of one run."""
    shown = charts.named([run], [run.id])
    measures = proof.measures(run)
    latency = run.summary.latency_ms if run.summary else None
    requests, errors = facts.errors(run)
    return OnePage(
        title=facts.title(run),
        heading=facts.short_name(run),
        simulated=facts.SIMULATED_WARNING if run.simulated else "",
        measured=run.measured,
        identity=facts.identity(run),
        verdicts=[proof.validity(run.summary), *proof.goals(run.plan, run.summary)],
        cards=cards(run),
        comparison=proof.comparison_table(measures, run.measured) if measures else None,
        bullets=proof.bullets(measures),
        over_time=charts.over_time(shown),
        latency=charts.latency(shown),
        percentiles=percentiles(latency) if latency else None,
        gaps=gap_bars(latency.itl) if latency else [],
        balance=balance(run) if run.summary or run.records else None,
        plan=_plan(run, run.plan) if run.plan else None,
        cost=facts.cost(run),
        gpus=facts.gpus(run),
        requests=requests,
        errors=errors,
        client=facts.client(run),
        environment=facts.environment(run),
        commands=facts.commands(run),
        fleet_yaml=facts.fleet_file(run),
        has_records=run.records is not None,
    )


def cards(run: RunData) -> list[Card]:
    """The headline numbers: measured where there is a measurement, else the plan's."""
    if run.summary:
        return _measured_cards(run.summary, "simulated GPUs" if run.simulated else "measured")
    return _predicted_cards(run.plan.chosen.prediction) if run.plan else []


def _measured_cards(summary: Summary, kind: str) -> list[Card]:
    rates, latency, requests = summary.throughput, summary.latency_ms, summary.requests
    requests_s = f"{number(rates.request_s)} requests/s"
    total = "total tokens" if summary.usd_per_million_tokens else "no price is known"
    return [
        Card("Throughput", number(rates.total_tok_s), "total tok/s", "input + output", kind),
        Card("Output", number(rates.output_tok_s), "output tok/s", requests_s, kind),
        _latency_card("TPOT", latency.tpot if latency else None, kind),
        _latency_card("TTFT", latency.ttft if latency else None, kind),
        Card("Cost", usd(summary.usd_per_million_tokens), "per million", total, kind),
        Card(
            "Requests", f"{requests.completed:,}", "completed", f"{requests.failed:,} failed", kind
        ),
    ]


def _latency_card(label: str, found: Distribution | None, kind: str) -> Card:
    if found is None:
        return Card(label, "–", "", "no request completed", kind)
    return Card(label, milliseconds(found.mean), "mean", f"p99 {milliseconds(found.p99)}", kind)


def _predicted_cards(p: Prediction) -> list[Card]:
    band = f"{number(p.low_total_tok_s)} to {number(p.high_total_tok_s)}"
    requests_s = f"{number(p.request_s)} requests/s"
    kind = "predicted"
    return [
        Card("Throughput", number(p.total_tok_s), "total tok/s", band, kind),
        Card("Output", number(p.output_tok_s), "output tok/s", requests_s, kind),
        Card("TPOT", milliseconds(p.tpot_ms), "mean", f"p99 {milliseconds(p.tpot_p99_ms)}", kind),
        Card("TTFT", milliseconds(p.ttft_ms), "mean", f"p99 {milliseconds(p.ttft_p99_ms)}", kind),
        Card("Cost", usd(p.usd_per_million_tokens), "per million", "total tokens", kind),
        Card("In flight", f"{p.concurrency_per_replica:,}", "requests", "per replica", kind),
    ]


def percentiles(latency: Latency) -> Table:
    """The exact percentiles of the summary."""
    rows = tuple(
        (label, *(number(v) for v in vars(getattr(latency, name)).values()))
        for name, label in LATENCY_NAMES.items()
    )
    return Table("Latency in milliseconds", ("", "Mean", "p50", "p90", "p99", "Max"), rows)


def gap_bars(itl: Distribution) -> list[Bar]:
    """ITL as bars of its percentiles: the gaps themselves are too many to keep."""
    rows = {"p50": itl.p50, "mean": itl.mean, "p90": itl.p90, "p99": itl.p99, "max": itl.max}
    most = max(rows.values()) or 1.0
    return [Bar(name, milliseconds(v), 100 * v / most) for name, v in rows.items()]


def _plan(run: RunData, plan: Plan) -> PlanView:
    chosen, layout = plan.chosen, plan.chosen.layout
    bars, memory_facts = facts.memory(plan)
    return PlanView(
        about=[
            Fact("Layout", f"{layout.replicas} replicas × {layout.tensor_parallel} GPU"),
            Fact("Nodes", str(layout.nodes)),
            Fact("Bound by", chosen.bound_by),
            Fact("In flight", f"{chosen.prediction.concurrency_per_replica:,} per replica"),
            Fact("Searched", f"{plan.searched:,} configurations in {plan.elapsed_s:.2f} s"),
            Fact("Planned by", f"headrace {plan.headrace_version}"),
        ],
        why=chosen.why,
        flags=facts.flags(chosen.engine_args),
        memory=bars,
        memory_facts=memory_facts,
        pareto=charts.pareto(run),
        rejected=facts.rejected(plan),
    )
