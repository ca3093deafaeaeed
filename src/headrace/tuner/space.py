"""What can be tried: the planner's own levers, and options that the model does not know."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headrace.engines.vllm import args as vllm_args
from headrace.errors import InfeasibleError
from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Constants
from headrace.planner.checkpoints import Checkpoint
from headrace.planner.evaluate import Candidate, Evaluator, trimmed
from headrace.planner.find import base_config, configs_of, levers_of
from headrace.planner.plan import Plan
from headrace.planner.search import plainness
from headrace.spec.fleet import Fleet

LEVERS = (
    "tensor_parallel",
    "kv_dtype",
    "state_dtype",
    "mtp_depth",
    "max_num_seqs",
    "max_num_batched_tokens",
    "captured",
    "attention_backend",
    "linear_backend",
)
FEWER_SEQUENCES = 2
"""Of the values of max_num_seqs the best predicted ones that are tried, for each combination."""


@dataclass(frozen=True)
class Option:
    """One configuration that can be measured. `levers` are what it differs in from others."""

    fleet: Fleet
    """Ready to be planned: every flag in `engine.args`, nothing left to the search."""
    config: EngineConfig
    levers: dict[str, Any]
    predicted_tok_s: float
    """Total tok/s of the whole fleet by the performance model, before anything was measured."""
    e2e_s: float
    """Predicted time of one request, from which a measured window is sized."""

    @property
    def key(self) -> str:
        """Equal for options that are the same configuration."""
        return "; ".join(f"{name}={value}" for name, value in sorted(self.levers.items()))


def options(
    fleet: Fleet,
    checkpoints: Sequence[Checkpoint],
    gpu: Gpu,
    constants: Constants,
    extra: Mapping[str, Sequence[Any]],
    beside: Callable[[Fleet], dict[str, Any]],
) -> list[Option]:
    """Every configuration that runs and is predicted to keep the goals, the best predicted first.

    `beside` names a fleet's levers that are no options of vLLM.
    `extra` are options of vLLM and their values. Of those that the performance model does not know
    the prediction is the same for each value.
    Raises InfeasibleError when nothing runs.
    """
    found: list[Option] = []
    version = fleet.engine.version
    for checkpoint, chosen in itertools.product(checkpoints, _combinations(extra)):
        of = _with(fleet, checkpoint, chosen)
        named = beside(of)
        named |= {n: value for n, value in chosen.items() if not is_lever(n, value, version)}
        evaluator = Evaluator(of, checkpoint.facts, gpu, constants)
        found += [_option(evaluator, candidate, named) for candidate in _candidates(evaluator)]
    if not found:
        raise InfeasibleError(
            "no configuration runs and keeps the goals", hint="see `headrace plan` for the reasons"
        )
    return sorted(found, key=lambda option: -option.predicted_tok_s)


def _combinations(extra: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*extra.values()):
        yield dict(zip(extra, values, strict=True))


def option_of(plan: Plan, facts: ModelFacts, gpu: Gpu, named: dict[str, Any]) -> Option:
    """What a plan chose, as an option: `named` are the levers that the model does not know."""
    fleet = settled(plan.fleet, plan.chosen.engine_args)
    config, _ = base_config(fleet, facts, gpu)
    predicted = plan.chosen.prediction
    return Option(
        fleet=fleet,
        config=config,
        levers={**named, **_levers(config)},
        predicted_tok_s=predicted.total_tok_s,
        e2e_s=(predicted.ttft_ms + predicted.tpot_ms * fleet.workload.outputs.mean) / 1e3,
    )


def _levers(config: EngineConfig) -> dict[str, Any]:
    """By name, as they are also written to a trial's record: a list of sizes in words."""
    sizes = " ".join(map(str, config.captured)) or "vLLM's own"
    return {name: getattr(config, name) for name in LEVERS} | {"captured": sizes}


def settled(fleet: Fleet, args: Mapping[str, Any]) -> Fleet:
    """The fleet with these flags and nothing left to choose."""
    engine = fleet.engine.model_copy(update={"args": dict(args), "planned": False})
    changed = {"engine": engine, "checkpoints": [], "goal": "throughput"}
    return fleet.model_copy(update=changed)


def _with(fleet: Fleet, checkpoint: Checkpoint, chosen: Mapping[str, Any]) -> Fleet:
    engine = fleet.engine.model_copy(update={"args": {**fleet.engine.args, **chosen}})
    return fleet.model_copy(update={"model": checkpoint.model, "engine": engine})


def is_lever(name: str, value: Any, version: str) -> bool:
    """Whether an option of vLLM is one of the planner's levers under another name.

    Raises InputError for an option that this version has not.
    """
    fields = vllm_args.engine_config({name: value}, version)
    return bool(fields) and set(fields) <= set(LEVERS)


def _candidates(evaluator: Evaluator) -> Iterator[Candidate]:
    """The best few of max_num_seqs for each combination of the other levers."""
    fleet = evaluator.fleet
    base, fixed = base_config(fleet, evaluator.facts, evaluator.gpu)
    wanted = levers_of(evaluator, fixed)
    wanted = replace(wanted, max_model_len=wanted.max_model_len[:1])
    groups: dict[EngineConfig, dict[EngineConfig, Candidate]] = {}
    for config in configs_of(evaluator, wanted, base):
        verdict = evaluator.judge(config)
        if isinstance(verdict, Candidate) and "max_num_seqs" not in fixed:
            verdict = evaluator.judge(trimmed(verdict))
        if isinstance(verdict, Candidate):
            group = groups.setdefault(replace(config, max_num_seqs=0), {})
            group[verdict.config] = verdict
    for group in groups.values():
        order = sorted(group.values(), key=lambda c: (-c.total_tok_s_per_gpu, plainness(c)))
        yield from order[:FEWER_SEQUENCES]


def _option(evaluator: Evaluator, candidate: Candidate, named: dict[str, Any]) -> Option:
    fleet, config = evaluator.fleet, candidate.config
    planned = vllm_args.engine_args(config, evaluator.facts)
    args = vllm_args.overridden(planned, fleet.engine.args)
    steady = candidate.steady
    return Option(
        fleet=settled(fleet, args),
        config=config,
        levers={**named, **_levers(config)},
        predicted_tok_s=candidate.total_tok_s,
        e2e_s=steady.ttft_s + steady.tpot_s * fleet.workload.outputs.mean,
    )
