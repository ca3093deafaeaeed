"""Turns a plan into the load that proves it, and a summary into the verdict on the plan."""

from __future__ import annotations

from pathlib import Path

from headrace.errors import InputError
from headrace.loadgen.spec import BenchSpec
from headrace.loadgen.summary import PlanComparison, Summary
from headrace.planner.arrive import refill_of
from headrace.planner.demand import Demand
from headrace.planner.plan import Plan
from headrace.spec.lengths import as_lengths
from headrace.spec.workload import Workload


def bench_spec(
    plan: Plan, urls: list[str], duration_s: float | None, requests: int | None
) -> BenchSpec:
    """The planned workload at the planned concurrency (or the stated rate) against `urls`.

    A trace with times is sent at its own times, so much quicker or slower as the rate asks for.
    Raises InputError as `require_sendable`, and for a refill that `urls` cannot share evenly.
    """
    fleet = plan.fleet
    workload, hardware = fleet.workload, fleet.hardware
    require_sendable(workload)
    talk, rate = workload.conversation, Demand(workload).request_s
    price, traced = plan.usd_per_gpu_hour, workload.traced
    speed = rate / traced.request_s if rate and traced and traced.request_s else None
    return BenchSpec(
        urls=urls,
        model=plan.model,
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        turns=talk.turns if talk else 1,
        think_s=talk.think_time_s if talk else 0.0,
        endpoint="chat" if talk or (traced and traced.chat) else "completions",
        dataset=Path(workload.trace) if workload.trace else None,
        dataset_format=workload.trace_format,
        replay_speed=speed,
        prefix_hit_rate=workload.prefix_hit_rate,
        concurrency=None if rate else _streams(plan),
        request_rate=None if speed else rate,
        refill=workload.refill,
        duration_s=duration_s,
        requests=requests,
        slo=fleet.slo.limits(),
        usd_per_hour=price * hardware.gpus if price else None,
    )


def _streams(plan: Plan) -> int:
    """Requests in flight; of conversations the users, of whom some think (Little's law)."""
    prediction, talk = plan.chosen.prediction, plan.fleet.workload.conversation
    in_flight = prediction.concurrency_per_replica * plan.chosen.layout.replicas
    if talk is None:
        return in_flight
    followed = 1 - 1 / as_lengths(talk.turns).mean
    return round(in_flight + prediction.request_s * talk.think_time_s * followed)


def require_sendable(workload: Workload) -> None:
    """Raises InputError for a workload that can be planned and not yet sent."""
    if workload.conversation and workload.conversation.shared_tokens:
        raise InputError(
            "conversation.shared_tokens: a beginning that all conversations share is planned "
            "(headrace plan) and not sent yet",
            hint="leave shared_tokens out, or add it to input_tokens",
        )


def require_shared(plan: Plan) -> None:
    """Raises InputError for a refill that the plan's replicas cannot share evenly by themselves."""
    refill, replicas = plan.fleet.workload.refill, plan.chosen.layout.replicas
    if refill == 1 or plan.fleet.gateway.policy != "none" or refill % replicas == 0:
        return
    raise InputError(
        f"{refill} requests at a time: {replicas} replicas without a gateway share them, so it "
        f"must be a multiple of {replicas}",
        hint=f"refill: {replicas * refill_of(plan.fleet, replicas).size}, or a gateway",
    )


def with_plan(summary: Summary, plan: Plan) -> Summary:
    """The summary with the plan's stand-ins, and measured over predicted where any completed."""
    if plan.stand_ins:
        environment = {**summary.environment, "stand_ins": plan.stand_ins}
        summary = summary.model_copy(update={"environment": environment})
    if summary.latency_ms is None:
        return summary
    predicted = plan.chosen.prediction
    comparison = PlanComparison(
        predicted_total_tok_s=predicted.total_tok_s,
        predicted_output_tok_s=predicted.output_tok_s,
        predicted_tpot_ms=predicted.tpot_ms,
        predicted_ttft_ms=predicted.ttft_ms,
        total_tok_s_ratio=summary.throughput.total_tok_s / predicted.total_tok_s,
        tpot_ratio=summary.latency_ms.tpot.mean / predicted.tpot_ms,
        ttft_ratio=summary.latency_ms.ttft.mean / predicted.ttft_ms,
    )
    return summary.model_copy(update={"plan": comparison})
