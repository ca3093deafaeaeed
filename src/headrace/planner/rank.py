"""The same fleet on several GPU types, ranked by predicted cost per token. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from headrace.errors import InfeasibleError
from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.planner.checkpoints import Checkpoint
from headrace.planner.make import make_plan
from headrace.planner.plan import Layout, Plan
from headrace.spec.fleet import Fleet

USUAL_BATCHED_TOKENS = 8192
"""What `choose` prefers among equals; close enough to decide how many GPUs one replica gets."""


class Ranked(BaseModel):
    """One GPU type's place. Figures are predicted; all None where nothing runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpu: str
    feasible: bool
    reason: str | None = None
    """Why it has no place by cost: infeasible, or without a price."""
    usd_per_gpu_hour: float | None = None
    total_tok_s: float | None = None
    total_tok_s_per_gpu: float | None = None
    tpot_ms: float | None = None
    usd_per_million_tokens: float | None = None
    layout: Layout | None = None
    low_total_tok_s: float | None = None
    high_total_tok_s: float | None = None


def on_gpu(fleet: Fleet, gpu: str, *, own: bool) -> Fleet:
    """The fleet with another GPU; a price that the file states holds only for its `own`."""
    update: dict[str, object] = {"gpu": gpu}
    if not own:
        update["usd_per_gpu_hour"] = None
    return fleet.model_copy(update={"hardware": fleet.hardware.model_copy(update=update)})


def rank_on(fleet: Fleet, facts: ModelFacts, gpu: Gpu, others: Sequence[Checkpoint] = ()) -> Ranked:
    """The row of one GPU; `fleet` names it already (`on_gpu`)."""
    try:
        return planned(quick_plan(fleet, facts, gpu, others))
    except InfeasibleError as error:
        return infeasible(gpu.name, str(error))


def quick_plan(
    fleet: Fleet, facts: ModelFacts, gpu: Gpu, others: Sequence[Checkpoint] = ()
) -> Plan:
    """The plan of `make_plan` from under half of its candidates, since ten GPUs are planned.

    One replica's GPUs are settled first, with the usual batch. Raises InfeasibleError as
    `make_plan` does.
    """
    if not fleet.engine.planned:
        return make_plan(fleet, facts, gpu, others=others)
    try:
        coarse = make_plan(_with(fleet, max_num_batched_tokens=USUAL_BATCHED_TOKENS), facts, gpu)
    except InfeasibleError:
        return make_plan(fleet, facts, gpu, others=others)
    settled = _with(fleet, tensor_parallel_size=coarse.chosen.layout.tensor_parallel)
    return make_plan(settled, facts, gpu, others=others)


def _with(fleet: Fleet, **args: Any) -> Fleet:
    """The fleet with these options settled, unless the file settles them."""
    engine = fleet.engine.model_copy(update={"args": {**args, **fleet.engine.args}})
    return fleet.model_copy(update={"engine": engine})


def planned(made: Plan) -> Ranked:
    """The row of a GPU on which the fleet runs."""
    p = made.chosen.prediction
    priced = p.usd_per_million_tokens is not None
    return Ranked(
        gpu=made.gpu,
        feasible=True,
        reason=None if priced else "no price in the catalog",
        usd_per_gpu_hour=made.usd_per_gpu_hour,
        total_tok_s=p.total_tok_s,
        total_tok_s_per_gpu=p.total_tok_s_per_gpu,
        tpot_ms=p.tpot_ms,
        usd_per_million_tokens=p.usd_per_million_tokens,
        layout=made.chosen.layout,
        low_total_tok_s=p.low_total_tok_s,
        high_total_tok_s=p.high_total_tok_s,
    )


def infeasible(gpu: str, reason: str) -> Ranked:
    """The row of a GPU on which nothing runs, or nothing keeps the goals."""
    return Ranked(gpu=gpu, feasible=False, reason=reason)


def ranked(rows: list[Ranked]) -> list[Ranked]:
    """The cheapest token first; then those without a price by throughput; then the infeasible."""
    return sorted(rows, key=_place)


def _place(row: Ranked) -> tuple[int, float, str]:
    if not row.feasible:
        return 2, 0.0, row.gpu
    if row.usd_per_million_tokens is None:
        return 1, -(row.total_tok_s_per_gpu or 0.0), row.gpu
    return 0, row.usd_per_million_tokens, row.gpu
