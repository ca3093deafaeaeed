"""Answers of `headrace simulate`: each question is some simulations, with progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from headrace.cli.output import console
from headrace.cli.simulate_input import Asked
from headrace.errors import HeadraceError, InputError
from headrace.planner.plan import Plan
from headrace.simulator import questions
from headrace.simulator.case import Case, case_of
from headrace.simulator.control import Course, Failure, RollingUpdate, Spot, Timing
from headrace.simulator.day import day
from headrace.simulator.result import EventRow, Figures, Simulation, figures, timeline
from headrace.simulator.scenario import Transfer
from headrace.simulator.simulation import INSTALL_HINT, is_quick, simulate
from headrace.simulator.workload import Arrivals, Open, Talk
from headrace.spec.lengths import as_lengths

NIC_BYTES_S = 50e9
"""Between nodes: 400 Gb/s for each GPU, the usual fabric of eight-GPU machines."""
TRANSFER_LATENCY_S = 0.005
MOST_CONTEXTS = 100_000_000
"""Pairs of replica and user, 16 bytes each."""
SWEEP = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
"""Shares of the planned rate."""


def case_for(plan: Plan, asked: Asked, picker_s: float, gateways: int, spread: float) -> Case:
    """The planned fleet with the options over it."""
    case = case_of(plan, seed=asked.seed, speed_spread=spread, quick=asked.quick)
    routed = replace(case.gateways, count=gateways, pick_s=picker_s)
    if asked.policy is not None:
        routed = replace(routed, policy=asked.policy)
    case = replace(case, gateways=routed)
    if case.talk is not None:
        _check_talk(case, asked)
    if asked.rate is not None:
        case = replace(case, request_rate=asked.rate)
    if asked.prefix_groups:
        case = _grouped(case, plan, asked.prefix_groups)
    if asked.prefill_share is not None:
        case = _disaggregated(case, plan, asked.prefill_share)
    if asked.regions > 1:
        case = replace(case, regions=asked.regions, region_delay_s=asked.region_delay_s)
    return case


def _check_talk(case: Case, asked: Asked) -> None:
    """Raises InputError for questions that conversations have no answer to."""
    refused = {
        "--rate": asked.rate is not None,
        "--rate-sweep": asked.rate_sweep,
        "--gpus-for": asked.gpus_for is not None,
        "--daily": bool(asked.daily),
        "--trace": asked.trace is not None,
        "--prefill-share": asked.prefill_share is not None,
    }
    for option, is_asked in refused.items():
        if is_asked:
            raise InputError(
                f"{option} with workload.conversation: conversations are simulated by users, on "
                "replicas that compute prompts and answers",
                hint="leave it out, or state the mean prompt of a turn in input_tokens, and "
                "prefix_hit_rate, instead of a conversation",
            )
    nodes = max([case.nodes, *asked.nodes])
    kept = (nodes * case.replicas_per_node) ** 2 * case.in_flight
    if kept > MOST_CONTEXTS:
        raise InputError(
            f"conversations on {nodes} nodes: what {kept:,.0f} pairs of replica and user have in "
            f"the cache would be followed; {MOST_CONTEXTS:,} at most",
            hint="simulate fewer nodes; with the same load per GPU they behave alike",
        )


def _grouped(case: Case, plan: Plan, groups: int) -> Case:
    """Prompts begin with one of so many prefixes; a replica keeps those that have room."""
    load, cache = plan.fleet.workload, case.replica.scheduler.cache
    if load.prefix_hit_rate == 0:
        raise InputError(
            "--prefix-groups: workload.prefix_hit_rate is 0",
            hint="set it to the share of a prompt that its group has in common",
        )
    prefix = max(1, int(load.inputs.mean * load.prefix_hit_rate))
    running = cache.pages_for(math.ceil(case.tokens_per_request)) * math.ceil(case.in_flight)
    kept = max(1, (cache.pages - running) // cache.pages_for(prefix))
    shape = replace(case.shape, prefix_groups=groups, prefix_share=load.prefix_hit_rate)
    return replace(case, shape=shape, cached_groups=kept)


def _disaggregated(case: Case, plan: Plan, share: float) -> Case:
    prefill = round(share * case.replicas)
    if not 0 < prefill < case.replicas:
        raise InputError(
            f"--prefill-share {share:g}: {case.replicas} replicas leave none for one of the roles"
        )
    memory = plan.chosen.memory_bytes
    transfer = Transfer(
        TRANSFER_LATENCY_S, memory.kv_per_token, NIC_BYTES_S, memory.state_per_sequence
    )
    return replace(case, prefill_replicas=prefill, transfer=transfer)


def answer(plan: Plan, case: Case, asked: Asked, fleet_file: Path) -> Simulation:
    """Run what was asked."""
    began_s = time.perf_counter()
    _say_how(asked)
    find = _question(asked)
    with _progress() as show:
        found = find(plan, case, asked, show)
    return found.model_copy(
        update={
            "elapsed_s": time.perf_counter() - began_s,
            "assumptions": [*found.assumptions, *_assumptions(case, fleet_file)],
            "quick": asked.quick and is_quick(),
        }
    )


Show = Callable[[str, float], None]
"""Called with what was just done, and the share of all that is done."""


def _question(asked: Asked) -> Callable[[Plan, Case, Asked, Show], Simulation]:
    if asked.nodes:
        return _scaling
    if asked.all_policies:
        return _policies
    if asked.rate_sweep:
        return _sweep
    if asked.gpus_for is not None:
        return _sizes
    return _day if asked.daily else _one


def _say_how(asked: Asked) -> None:
    """Which core runs, where that costs the user time."""
    if not is_quick():
        console.print(f"numba is not installed, the reference runs; {INSTALL_HINT}", markup=False)
    elif asked.quick:
        from headrace.simulator.fast.compiling import is_compiled

        if not is_compiled():
            console.print("[dim]compiling the quick core, once: about half a minute[/]")


def _found(case: Case, question: str, simulated_s: float, **more: Any) -> Simulation:
    return Simulation(
        name=case.name,
        model=case.model,
        gpu=case.gpu,
        gpus=case.gpus,
        question=question,
        simulated_s=simulated_s,
        elapsed_s=0.0,
        quick=True,
        **more,
    )


def _headline(found: Figures) -> dict[str, Any]:
    return {
        "total_tok_s": found.total_tok_s,
        "output_tok_s": found.output_tok_s,
        "latency_ms": found.latency_ms,
        "usd_per_million_tokens": found.usd_per_million_tokens,
        "requests": {"completed": found.completed, "failed": found.failed},
    }


def _one(plan: Plan, case: Case, asked: Asked, show: Show) -> Simulation:  # noqa: ARG001
    arrivals: Arrivals = asked.trace or case.arrivals()
    course = _course(case, asked)
    setup = case.setup(asked.duration_s, arrivals, course)
    if asked.trace is not None:
        setup = replace(setup, warmup_s=0.0)
    outcome = simulate(setup, lambda share: show("simulating", share), quick=asked.quick)
    found = figures(outcome, case.usd_per_hour())
    return _found(
        case,
        "What this fleet does under its load.",
        outcome.duration_s,
        events=[EventRow(**vars(event)) for event in outcome.history],
        timeline=timeline(outcome, case.replicas),
        **_headline(found),
    )


def _course(case: Case, asked: Asked) -> Course:
    failures = []
    first = 0
    for count, at_s in asked.failures:
        if first + count > case.nodes:
            raise InputError(f"--fail {count}@{at_s:g}s: the fleet has {case.nodes} nodes in all")
        each = case.replicas_per_node
        failures.append(Failure(at_s, tuple(range(first * each, (first + count) * each))))
        first += count
    updates = (RollingUpdate(asked.update[1], asked.update[0]),) if asked.update else ()
    return Course(
        timing=Timing(start_s=asked.start_s),
        failures=tuple(failures),
        updates=updates,
        spot=Spot(asked.spot) if asked.spot is not None else None,
        replicas_per_machine=case.replicas_per_node,
    )


def _scaling(plan: Plan, case: Case, asked: Asked, show: Show) -> Simulation:  # noqa: ARG001
    done = _counted(show, len(asked.nodes))
    if not questions.is_published_case(case):
        rows = questions.scaling(case, asked.nodes, asked.duration_s, done)
        return _found(case, "How throughput grows with nodes.", asked.duration_s, scaling=rows)
    rows = questions.published_scaling(case, asked.nodes, asked.duration_s, done)
    known = questions.PUBLISHED
    rows = [r.model_copy(update={"published_total_tok_s": known.get(r.nodes)}) for r in rows]
    assumed = (
        "Requests in flight per GPU of the published rows: 183 on one node (Little's law), 167 on "
        "twelve (16,000 in all); between them a straight line over the logarithm of the nodes is "
        "assumed."
    )
    question = "How throughput grows with nodes, beside the published table."
    return _found(case, question, asked.duration_s, scaling=rows, assumptions=[assumed])


def _policies(plan: Plan, case: Case, asked: Asked, show: Show) -> Simulation:  # noqa: ARG001
    named = questions.policies()
    published = questions.is_published_case(case)
    done = _counted(show, len(named) + 1 + 6 * published)
    best = figures(questions.run(case, asked.duration_s)).request_s
    named.append(
        ("one picker for 65 % of this rate", questions.picker_of_65_percent(max(best, 1e-9)))
    )
    rows = questions.compare_policies(case, named, asked.duration_s, done)
    causes = questions.causes(case, asked.duration_s, done) if published else []
    return _found(
        case,
        "Which routing policy suits this fleet and load.",
        asked.duration_s,
        policies=rows,
        causes=causes,
        **_headline(rows[0].figures),
    )


def _sweep(plan: Plan, case: Case, asked: Asked, show: Show) -> Simulation:
    rate = asked.rate or plan.chosen.prediction.request_s
    done = _counted(show, len(SWEEP))
    rows = questions.rate_sweep(case, SWEEP, rate, asked.duration_s, done)
    return _found(case, "Latency over arrival rates.", asked.duration_s, rates=rows)


def _sizes(plan: Plan, case: Case, asked: Asked, show: Show) -> Simulation:
    from headrace.cli.plan import plan_for
    from headrace.planner.rank import on_gpu

    assert asked.gpus_for is not None
    rows = []
    for name in asked.gpus or [case.gpu]:
        sized = case
        if name != case.gpu:
            try:
                other = plan_for(on_gpu(plan.fleet, name, own=False))
            except InputError:
                raise
            except HeadraceError as error:
                rows.append(questions.infeasible(name, str(error)))
                continue
            sized = replace(
                case_of(other, seed=asked.seed, quick=asked.quick), gateways=case.gateways
            )
        show(f"{name}: searching", 0.0)
        rows.append(
            questions.fewest_nodes(
                sized, asked.gpus_for, asked.spare, asked.duration_s, lambda what: show(what, 0.0)
            )
        )
    goals = [f"{goal.words} {goal.limit_ms:g} ms" for goal in case.goals] or ["no goals"]
    load = f"{asked.gpus_for:,.0f} total tok/s, {', '.join(goals)}, N+{asked.spare} nodes"
    question = f"Fewest GPUs for {load}."
    p99 = {goal.metric: goal.limit_ms for goal in case.goals if goal.percentile == 99}
    return _found(case, question, asked.duration_s, sizes=rows, goals_p99_ms=p99)


def _day(plan: Plan, case: Case, asked: Asked, show: Show) -> Simulation:  # noqa: ARG001
    rows, events, outcome = day(
        case, asked.daily, asked.start_s, asked.spare, lambda share: show("a day", share)
    )
    found = figures(outcome)
    priced = [row.usd for row in rows if row.usd is not None]
    tokens = found.total_tok_s * outcome.duration_s
    headline = _headline(found)
    if priced and tokens:
        headline["usd_per_million_tokens"] = math.fsum(priced) / tokens * 1e6
    question = "What each hour of a day costs, with a fleet that follows the load."
    assumed = ["Replicas are paid for while they take requests, and started ahead of the load."]
    return _found(
        case,
        question,
        outcome.duration_s,
        hours=rows,
        events=events,
        assumptions=assumed,
        **headline,
    )


def _assumptions(case: Case, fleet_file: Path) -> list[str]:
    load = f"{case.in_flight:,.4g} {'users' if case.talk else 'requests in flight'} per replica"
    if case.request_rate is not None:
        load = f"Poisson arrivals, {case.request_rate:g} requests/s"
    lines = [
        f"Replicas, step times and batch limits are those of the plan of {fleet_file.name}.",
        f"Load: {load}, unless a table says otherwise; seed {case.seed}.",
        f"Gateway: {case.gateways.policy} x {case.gateways.count}, unless a table says otherwise.",
    ]
    if isinstance(case.arrivals(), Open):
        lines.append("Latency counts from arrival; the fleet is filled before it is measured.")
    if case.shape.prefix_groups:
        lines.append(
            f"Prompts begin with one of {case.shape.prefix_groups:,} prefixes; a replica keeps the "
            f"{case.cached_groups:,} that it used last."
        )
    if case.talk is not None:
        lines += _said_of_talk(case, case.talk)
    if case.regions > 1:
        lines.append(
            f"{case.regions} regions, {case.region_delay_s * 1e3:g} ms apart one way; each serves "
            "its own clients while it has a replica."
        )
    if case.transfer is not None:
        lines.append(
            f"{case.prefill_replicas} of {case.replicas} replicas compute prompts; caches move at "
            f"{case.transfer.bytes_s / 1e9:g} GB/s after {case.transfer.latency_s * 1e3:g} ms."
        )
    return lines


def _said_of_talk(case: Case, talk: Talk) -> list[str]:
    users = round(case.in_flight * case.replicas)
    turns = as_lengths(talk.turns).mean
    load = (
        f"{users:,} users in conversations of {turns:g} turns on average, {talk.think_s:g} s from "
        "an answer to the next turn; a user who thinks has no request in flight."
    )
    cached = (
        "What a user has said is found where the last turn was answered, while no running "
        f"sequence needs its pages; the {talk.shared_tokens:,} tokens that all begin with, always."
    )
    return [load, cached]


def _counted(show: Show, total: int) -> questions.Tick:
    done = iter(range(1, total + 1))
    return lambda what: show(what, next(done, total) / total)


@contextmanager
def _progress() -> Iterator[Show]:
    """A bar where there is a terminal; nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("simulating", total=1.0)
        yield lambda what, done: bar.update(task, description=what, completed=done)
