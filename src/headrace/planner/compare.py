"""From one configuration to another, one setting at a time, and what each step gains. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from headrace.engines.vllm import args as vllm_args
from headrace.errors import InputError
from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Constants
from headrace.planner.evaluate import Candidate, Evaluator, Refusal
from headrace.planner.plan import Plan
from headrace.spec.fleet import Fleet

LOAD = "requests in flight per replica"
CHECKPOINT = "checkpoint"
ORDER: tuple[str, ...] = (
    CHECKPOINT,
    "tensor_parallel",
    "max_model_len",
    "max_num_batched_tokens",
    "prefix_caching",
    "text_only",
    "gpu_memory_utilization",
    "kv_dtype",
    "state_dtype",
    "mtp_depth",
    "stream_interval",
    "async_scheduling",
    "max_num_seqs",
    "captured",
    "max_captured",
    "enforce_eager",
    "deep_gemm",
    "attention_backend",
    "gdn_prefill_backend",
    "linear_backend",
    LOAD,
    "version",
)
"""The order of the steps: what decides the room, what fills it, and the engine version last.

A step's gain depends on the steps before it; a fixed order makes two comparisons comparable.
"""
SAME: tuple[str, ...] = (
    "model",
    "hardware.gpu",
    "hardware.nodes",
    "hardware.gpus_per_node",
    "workload.trace",
    "workload.input_tokens",
    "workload.output_tokens",
    "workload.conversation",
    "workload.prefix_hit_rate",
    "workload.acceptance",
)
"""Fields in which two fleets must agree, or a gain would be of the load and not of a setting."""


class Step(BaseModel):
    """One setting changed. Figures are predicted; None where the configuration cannot run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    setting: str | None
    """None in the first row: the configuration that is compared against."""
    before: str | int | float | bool | None = None
    after: str | int | float | bool | None = None
    feasible: bool
    reason: str | None = None
    """Why it cannot run, or which goal it misses."""
    total_tok_s: float | None = None
    gain: float | None = None
    """Share gained over the last row that runs."""
    tpot_ms: float | None = None
    concurrency_per_replica: int | None = None
    without: float | None = None
    """Share that the chosen configuration loses (below 0) or gains with only this set back."""


@dataclass(frozen=True)
class Ground:
    """What both configurations run on."""

    facts: ModelFacts
    gpu: Gpu
    constants: Constants


def differing_fields(fleet: Fleet, other: Fleet) -> dict[str, tuple[Any, Any]]:
    """The fields of SAME in which two fleets differ, with both values."""
    pairs = {name: (_field(fleet, name), _field(other, name)) for name in SAME}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _field(fleet: Fleet, name: str) -> Any:
    value: Any = fleet
    for part in name.split("."):
        value = getattr(value, part)
    return value


def config_of(made: Plan, ground: Ground) -> EngineConfig:
    """The settings of a plan's choice: its options over vLLM's defaults."""
    engine = made.fleet.engine
    return vllm_args.configured(engine, made.chosen.engine_args, ground.gpu, ground.facts)


def compare(
    base: Plan, chosen: Plan, ground: Ground, chosen_ground: Ground | None = None
) -> list[Step]:
    """The steps from `base` to `chosen`; the last row's figures are those of `chosen`.

    `chosen_ground` is where `chosen` stands, if another checkpoint was chosen.
    """
    grounds = ground, chosen_ground or ground
    rows: list[Step] = []
    last: float | None = None
    for setting, before, after, verdict in _verdicts(base, chosen, *grounds):
        row = _row(setting, before, after, verdict, last)
        last = row.total_tok_s if row.total_tok_s is not None else last
        rows.append(row.model_copy(update={"without": _without(row, base, chosen, grounds)}))
    return rows


def _without(row: Step, base: Plan, chosen: Plan, grounds: tuple[Ground, Ground]) -> float | None:
    """What the chosen configuration would lose with one setting as it was before."""
    if row.setting is None:
        return None
    config, in_flight = config_of(chosen, grounds[1]), chosen.chosen.prediction
    ground, given = grounds[1], in_flight.concurrency_per_replica
    if row.setting == LOAD:
        given = base.chosen.prediction.concurrency_per_replica
    elif row.setting == CHECKPOINT:
        ground = grounds[0]
    else:
        config = replace(config, **{row.setting: getattr(config_of(base, grounds[0]), row.setting)})
    runs = _runs(_judge(chosen.fleet, config, given, ground))
    return runs.total_tok_s / in_flight.total_tok_s - 1 if runs else None


_Verdict = tuple[str | None, Any, Any, Candidate | Refusal]


def _verdicts(
    base: Plan, chosen: Plan, ground: Ground, chosen_ground: Ground
) -> Iterator[_Verdict]:
    """Every step's setting, its two values, and how the configuration is then judged."""
    config, goal = config_of(base, ground), config_of(chosen, chosen_ground)
    old_load = chosen.fleet.model_copy(update={"workload": base.fleet.workload})
    given: int | None = base.chosen.prediction.concurrency_per_replica
    yield None, None, None, _judge(old_load, config, given, ground)
    fleet, given = old_load, None  # from here on as base's workload states it, until LOAD
    for setting in ORDER:
        if setting == CHECKPOINT:
            models = ground.facts.name, chosen_ground.facts.name
            ground = chosen_ground
            if models[0] != models[1]:
                yield setting, *models, _judge(fleet, config, given, ground)
            continue
        if setting == LOAD:
            before = _in_flight(_judge(fleet, config, None, ground))
            fleet, given = chosen.fleet, chosen.chosen.prediction.concurrency_per_replica
            if before != given:
                yield setting, before, given, _judge(fleet, config, given, ground)
            continue
        before, after = getattr(config, setting), getattr(goal, setting)
        if before != after:
            config = replace(config, **{setting: after})
            yield setting, _shown(before), _shown(after), _judge(fleet, config, given, ground)


def _shown(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


def _judge(
    fleet: Fleet, config: EngineConfig, given: int | None, ground: Ground
) -> Candidate | Refusal:
    """An evaluator of its own for every step: they keep step times of one engine version."""
    try:
        vllm_args.engine_args(config, ground.facts)
    except InputError as error:
        return Refusal(config, str(error))
    return Evaluator(fleet, ground.facts, ground.gpu, ground.constants).judge(config, given)


def _in_flight(verdict: Candidate | Refusal) -> int | None:
    runs = _runs(verdict)
    return runs.concurrency if runs else None


def _runs(verdict: Candidate | Refusal) -> Candidate | None:
    return verdict if isinstance(verdict, Candidate) else verdict.candidate


def _row(
    setting: str | None, before: Any, after: Any, verdict: Candidate | Refusal, last: float | None
) -> Step:
    runs = _runs(verdict)
    total = runs.total_tok_s if runs else None
    return Step(
        setting=setting,
        before=before,
        after=after,
        feasible=isinstance(verdict, Candidate),
        reason=verdict.reason if isinstance(verdict, Refusal) else None,
        total_tok_s=total,
        gain=total / last - 1 if total is not None and last else None,
        tpot_ms=runs.steady.tpot_s * 1e3 if runs else None,
        concurrency_per_replica=runs.concurrency if runs else None,
    )
