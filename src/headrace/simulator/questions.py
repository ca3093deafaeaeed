"""Questions to a fleet, each a few simulations: how it scales, which policy, which rate, how many.

Each takes a case and returns rows of `result`; `tick` is called after every simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from headrace.simulator.case import Case
from headrace.simulator.result import (
    Figures,
    PartRow,
    PolicyRow,
    RateRow,
    ScalingRow,
    SizeRow,
    SizeTry,
    figures,
    imbalance,
)
from headrace.simulator.scenario import EVERY, Gateways
from headrace.simulator.simulation import Outcome, simulate
from headrace.simulator.workload import Arrivals, Open

Tick = Callable[[str], None]

PUBLISHED = {1: 95_317.0, 2: 190_000.0, 4: 376_074.0, 8: 740_192.0, 12: 1_103_941.0}
"""Total tok/s by nodes of eight B200: Qwen3.5-27B-FP8, vLLM 0.18.0, 1,024 in and 512 out."""
PUBLISHED_ONE_NODE_IN_FLIGHT = 183.0
"""Per GPU, by Little's law from 95,317 tok/s at a TPOT of 46 ms. Not published itself."""
PUBLISHED_IN_FLIGHT = 16_000
"""On twelve nodes: sixteen clients that hold a thousand requests each."""
BACKLOG = 0.02
"""An open loop keeps up when no larger share of what arrives is left over."""


def run(case: Case, duration_s: float, arrivals: Arrivals | None = None) -> Outcome:
    """One simulation of a case."""
    return simulate(case.setup(duration_s, arrivals), quick=case.quick)


def scaling(case: Case, nodes: Sequence[int], duration_s: float, tick: Tick) -> list[ScalingRow]:
    """The same load per GPU on more and more nodes."""
    loads = [case.in_flight] * len(nodes)
    return _scaling_rows(case, nodes, loads, duration_s, tick)


def published_scaling(
    case: Case, nodes: Sequence[int], duration_s: float, tick: Tick
) -> list[ScalingRow]:
    """The published case with the load that each row had, as far as it is known.

    Two loads are known: 183 in flight per GPU on one node (by Little's law) and 16,000 in all on
    twelve, 167 per GPU. Between them a straight line over the logarithm of the nodes is assumed.
    """
    return _scaling_rows(case, nodes, [published_in_flight(n) for n in nodes], duration_s, tick)


def published_in_flight(nodes: int) -> float:
    """Requests in flight per GPU in the published run; assumed between its ends."""
    last = PUBLISHED_IN_FLIGHT / 96
    share = min(1.0, math.log(nodes) / math.log(12))
    return PUBLISHED_ONE_NODE_IN_FLIGHT + share * (last - PUBLISHED_ONE_NODE_IN_FLIGHT)


def _scaling_rows(
    case: Case, nodes: Sequence[int], loads: Sequence[float], duration_s: float, tick: Tick
) -> list[ScalingRow]:
    rows: list[ScalingRow] = []
    for count, load in zip(nodes, loads, strict=True):
        rate = case.request_rate
        sized = replace(
            case,
            nodes=count,
            in_flight=load,
            request_rate=None if rate is None else rate * count / case.nodes,
        )
        found = figures(run(sized, duration_s), sized.usd_per_hour())
        first = rows[0].total_tok_s / rows[0].nodes if rows else found.total_tok_s / count
        rows.append(_scaling_row(sized, found, found.total_tok_s / count / first))
        tick(f"{count} nodes")
    return rows


def _scaling_row(case: Case, found: Figures, efficiency: float) -> ScalingRow:
    latency = found.latency_ms
    return ScalingRow(
        nodes=case.nodes,
        gpus=case.gpus,
        in_flight_per_replica=case.in_flight,
        total_tok_s=found.total_tok_s,
        efficiency=efficiency,
        tpot_p50_ms=latency.tpot.p50 if latency else math.nan,
        ttft_p50_ms=latency.ttft.p50 if latency else math.nan,
        usd_per_million_tokens=found.usd_per_million_tokens,
    )


def is_published_case(case: Case) -> bool:
    """Whether the rows of the published table are about this model, GPU and load."""
    shape = case.shape.input_tokens, case.shape.output_tokens
    fleet = case.gpu, case.gpus_per_node, case.gpus_per_replica
    load = round(case.in_flight * case.replicas)
    return (
        case.model == "Qwen/Qwen3.5-27B-FP8"
        and shape == (1024, 512)
        and fleet == ("B200", 8, 1)
        and load == PUBLISHED_IN_FLIGHT
    )


def policies() -> list[tuple[str, Gateways]]:
    """What is compared: each policy as gateways really do it, with what makes it worse."""
    return [
        ("one gateway", Gateways("least-request")),
        ("one gateway, the less busy of two", Gateways("least-request", choices=2)),
        ("one gateway, the least busy of all", Gateways("least-request", choices=EVERY)),
        ("16 gateways that know their own requests only", Gateways("least-request", count=16)),
        ("counts asked every second", Gateways("least-request", stale_s=1.0)),
        (
            "counts asked every second, the less busy of two",
            Gateways("least-request", choices=2, stale_s=1.0),
        ),
        ("one gateway", Gateways("round-robin")),
        ("16 gateways of 4 workers", Gateways("round-robin", count=16, workers=4)),
        ("connections live on (iptables)", Gateways("random-connection")),
        ("a connection per request", Gateways("random-connection", requests_per_connection=1)),
        ("ring, at most 1.5 times the mean", Gateways("affinity")),
    ]


def picker_of_65_percent(request_s: float) -> Gateways:
    """One endpoint picker that handles 65 % of a rate, as the published gateway did."""
    return Gateways("least-request", stale_s=0.05, pick_s=1 / (0.65 * request_s))


def compare_policies(
    case: Case, named: Sequence[tuple[str, Gateways]], duration_s: float, tick: Tick
) -> list[PolicyRow]:
    """The same fleet and load behind different gateways, the best first."""
    found = []
    for settings, gateways in named:
        outcome = run(replace(case, gateways=gateways), duration_s)
        found.append((settings, gateways, outcome))
        tick(f"{gateways.policy}, {settings}")
    best = max(outcome.total_tok_s for _, _, outcome in found)
    rows = [
        PolicyRow(
            policy=gateways.policy,
            settings=settings,
            figures=figures(outcome, case.usd_per_hour()),
            share=outcome.total_tok_s / best,
            imbalance=imbalance(outcome, case.replicas),
        )
        for settings, gateways, outcome in found
    ]
    return sorted(rows, key=lambda row: -row.figures.total_tok_s)


def causes(case: Case, duration_s: float, tick: Tick) -> list[PartRow]:
    """Where the published 3.5 % go: one cause after another is put into the simulation.

    A hypothesis: what of it happened in the published run was not measured there.
    """
    one = replace(case, nodes=1, in_flight=PUBLISHED_ONE_NODE_IN_FLIGHT)
    full = replace(case, in_flight=PUBLISHED_ONE_NODE_IN_FLIGHT)
    thin = replace(case, in_flight=PUBLISHED_IN_FLIGHT / 96)
    best, sticky = Gateways("least-request"), Gateways("random-connection")
    client = replace(case.client, turnaround_s=0.05)
    steps = [
        ("one node, times its number of nodes", replace(one, gateways=best)),
        ("twelve nodes, the same load per GPU", replace(full, gateways=best)),
        ("16,000 requests in flight: 167 per GPU instead of 183", replace(thin, gateways=best)),
        ("a random replica for the life of a connection", replace(thin, gateways=sticky)),
        ("GPUs that differ by 1 % (deviation)", replace(thin, gateways=sticky, speed_spread=0.01)),
        (
            "50 ms between an answer and the next request",
            replace(thin, gateways=sticky, speed_spread=0.01, client=client),
        ),
    ]
    rows: list[PartRow] = []
    whole = before = 0.0
    for cause, fleet in steps:
        total = run(fleet, duration_s).total_tok_s * case.nodes / fleet.nodes
        whole = whole or total
        points = 100 * (total - before) / whole if rows else 0.0
        rows.append(PartRow(cause=cause, total_tok_s=total, points=points))
        before = total
        tick(cause)
    return rows


def rate_sweep(
    case: Case, shares: Sequence[float], request_s: float, duration_s: float, tick: Tick
) -> list[RateRow]:
    """Poisson arrivals at shares of a rate."""
    rows = []
    for share in shares:
        rate = share * request_s
        found = figures(run(case, duration_s, Open(rate)), case.usd_per_hour())
        kept = keeps_slo(case, found)
        rows.append(RateRow(asked_request_s=rate, figures=found, keeps_slo=kept))
        tick(f"{rate:,.1f} requests/s")
    return rows


def keeps_slo(case: Case, found: Figures) -> bool:
    """Whether the goals that the fleet file states hold."""
    latency = found.latency_ms
    if latency is None:
        return False
    return all(latency.at(goal.metric, goal.percentile) <= goal.limit_ms for goal in case.goals)


def keeps_up(outcome: Outcome) -> bool:
    """Whether as many requests end in the window as arrive, but for chance (four deviations)."""
    sent_s = outcome.requests.sent_s
    arrived = int(((sent_s > outcome.begin_s) & (sent_s <= outcome.end_s)).sum())
    ended = int(outcome.completed.sum())
    return arrived - ended <= BACKLOG * arrived + 4 * math.sqrt(arrived)


def fewest_nodes(case: Case, tok_s: float, spare: int, duration_s: float, tick: Tick) -> SizeRow:
    """The fewest nodes that carry a load with the goals kept while `spare` of them are lost."""
    rate = tok_s / case.tokens_per_request
    tries: list[SizeTry] = []

    def carries(nodes: int) -> Figures | None:
        sized = replace(case, nodes=nodes)
        outcome = run(sized, duration_s, Open(rate))
        tick(f"{case.gpu}: {nodes} nodes")
        found = figures(outcome)
        enough = keeps_up(outcome) and keeps_slo(sized, found)
        tries.append(_size_try(sized, found, carries=enough))
        return found if enough else None

    predicted = case.in_flight * case.replicas_per_node / case.answer_s
    low, high = 0, max(1, math.ceil(rate / predicted))
    found = carries(high)
    while found is None:
        low, high = high, max(high + 1, math.ceil(high * 1.1))
        found = carries(high)
        if high > 100 * rate / predicted + 100:
            return infeasible(case.gpu, "no number of nodes keeps the SLO")
    while high - low > 1:
        middle = (low + high + 1) // 2 if low else high - 1
        middle = min(high - 1, middle)
        tried = carries(middle)
        if tried is None:
            low = middle
        else:
            high, found = middle, tried
    return _size_row(case, high, spare, tok_s, found).model_copy(update={"tries": tries})


def _size_try(case: Case, found: Figures, *, carries: bool) -> SizeTry:
    latency = found.latency_ms
    return SizeTry(
        nodes=case.nodes,
        gpus=case.gpus,
        carries=carries,
        tpot_p99_ms=latency.tpot.p99 if latency else None,
        ttft_p99_ms=latency.ttft.p99 if latency else None,
    )


def infeasible(gpu: str, reason: str) -> SizeRow:
    """A GPU type on which nothing runs, or nothing keeps the goals."""
    return SizeRow(gpu=gpu, feasible=False, reason=reason)


def _size_row(case: Case, nodes: int, spare: int, tok_s: float, found: Figures) -> SizeRow:
    usd = case.usd_per_hour(nodes + spare)
    return SizeRow(
        gpu=case.gpu,
        feasible=True,
        nodes=nodes + spare,
        gpus=(nodes + spare) * case.gpus_per_node,
        spare_nodes=spare,
        gpus_per_replica=case.gpus_per_replica,
        asked_tok_s=tok_s,
        after_loss=found,
        usd_per_hour=usd,
        usd_per_million_tokens=usd / (tok_s * 3600) * 1e6 if usd else None,
    )
