"""From a fleet, a model and a GPU to the best configuration, by the fleet's goal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from headrace.engines.vllm import args as vllm_args
from headrace.errors import InfeasibleError
from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.attention_kernels import attention_backends, attention_kernels
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Constants
from headrace.perf.graphs import PROMPT_SIZES
from headrace.planner import sizing
from headrace.planner.candidates import Levers, levers
from headrace.planner.evaluate import Candidate, Evaluator
from headrace.planner.search import Searched, choose, refine, search
from headrace.spec.fleet import Fleet


@dataclass(frozen=True)
class Found:
    """The best configuration, and all that it was chosen from."""

    chosen: Candidate
    full: Candidate
    """The same at the most that it can do, as those that it was chosen from are."""
    searched: Searched
    evaluator: Evaluator
    """Its fleet is the one to run: with as many nodes as a rate needs."""
    fixed: dict[str, Any]
    """Levers that the file settles."""
    reasons: list[str]
    """What the goal adds to the reasons."""


def find(fleet: Fleet, facts: ModelFacts, gpu: Gpu, constants: Constants) -> Found:
    """Search and choose.

    Raises InfeasibleError when nothing runs, or nothing keeps the goals.
    """
    evaluator = Evaluator(fleet, facts, gpu, constants)
    if fleet.goal == "throughput" or evaluator.request_s is None:
        chosen, searched, fixed = _best(evaluator)
        return Found(chosen, chosen, searched, evaluator, fixed, [])
    full = Evaluator(sizing.saturated(fleet), facts, gpu, constants)
    return _sized(full, fleet, evaluator.request_s)


def _best(evaluator: Evaluator) -> tuple[Candidate, Searched, dict[str, Any]]:
    """The quickest configuration, its max_num_seqs refined."""
    wanted, searched, fixed = _searched(evaluator)
    best = choose(searched.feasible, per_paid_gpu=evaluator.fleet.goal == "cost")
    return _refined(evaluator, best, wanted, fixed), searched, fixed


def _searched(evaluator: Evaluator) -> tuple[Levers, Searched, dict[str, Any]]:
    base, fixed = base_config(evaluator.fleet, evaluator.facts, evaluator.gpu)
    wanted = levers_of(evaluator, fixed)
    searched = search(evaluator, configs_of(evaluator, wanted, base))
    if not searched.feasible:
        raise InfeasibleError(_nothing_feasible(searched), hint=_what_would_help(searched))
    return wanted, searched, fixed


def levers_of(evaluator: Evaluator, fixed: dict[str, Any]) -> Levers:
    """What is searched; CUDA-graph sizes and kernels only where there is what to choose them by."""
    calibration, version = evaluator.calibration, evaluator.fleet.engine.version
    return levers(
        evaluator.fleet,
        evaluator.facts,
        evaluator.gpu,
        fixed,
        captured=((), PROMPT_SIZES) if calibration.gemm else ((),),
        attention_backend=attention_backends(evaluator.facts, evaluator.gpu.name, version),
        linear_backend=("auto", *calibration.gemm_by_backend),
    )


def configs_of(evaluator: Evaluator, wanted: Levers, base: EngineConfig) -> Iterator[EngineConfig]:
    """Every combination, less those that ask for a kernel of attention that would not be taken."""
    kernels = attention_kernels(evaluator.facts, evaluator.gpu.name, base.version)
    asked = set(wanted.attention_backend) - {"auto"} if len(wanted.attention_backend) > 1 else set()
    for config in wanted.configs(base):
        backend = config.attention_backend
        if backend not in asked or any(k.backend == backend and k.serves(config) for k in kernels):
            yield config


def _refined(
    evaluator: Evaluator, best: Candidate, wanted: Levers, fixed: dict[str, Any]
) -> Candidate:
    limit = min((n for n in wanted.max_num_seqs if n > best.config.max_num_seqs), default=0)
    return refine(evaluator, best, "max_num_seqs" in fixed, limit)


def _sized(full: Evaluator, fleet: Fleet, request_s: float) -> Found:
    """As few GPUs as serve the rate; `full` judges replicas at the most that they can do."""
    wanted, searched, fixed = _searched(full)
    best = sizing.fewest(searched, request_s, full)
    better = _refined(full, best.full, wanted, fixed)
    again = sizing.sized(better, request_s, full)
    size = again if again.gpus <= best.gpus else best
    placed = sizing.placed(fleet, size, request_s)
    evaluator = Evaluator(placed, full.facts, full.gpu, full.constants)
    chosen = sizing.at_rate(size, evaluator)
    reasons = sizing.reasons(size, searched, request_s, evaluator)
    return Found(chosen, size.full, searched, evaluator, fixed, reasons)


def base_config(fleet: Fleet, facts: ModelFacts, gpu: Gpu) -> tuple[EngineConfig, dict[str, Any]]:
    """vLLM's defaults with the file's args over them, and the levers that are thereby fixed."""
    engine = fleet.engine
    fixed = vllm_args.engine_config(engine.args, engine.version)
    base = vllm_args.configured(engine, engine.args, gpu, facts)
    if not engine.planned:
        names = Levers.__dataclass_fields__
        return base, {name: getattr(base, name) for name in names}
    if "prefix_caching" not in fixed:
        base = replace(base, prefix_caching=fleet.workload.reuses_prefixes)
    if "text_only" not in fixed:
        base = replace(base, text_only=True)
    base = replace(base, cover_decode=True)
    return base, fixed


def _nothing_feasible(searched: Searched) -> str:
    nearest = max(
        (r for r in searched.refused if r.candidate),
        key=lambda r: -r.candidate.steady.tpot_s if r.candidate else 0.0,
        default=None,
    )
    reasons = {r.reason for r in searched.refused if r.candidate is None}
    if nearest is None:
        listed = "; ".join(sorted(reasons)[:3])
        return f"no configuration runs ({searched.count:,} tried): {listed}"
    return (
        f"no configuration keeps the goals ({searched.count:,} tried); the nearest miss: "
        f"{nearest.reason}"
    )


def _what_would_help(searched: Searched) -> str:
    if any(r.candidate for r in searched.refused):
        return "relax slo in the fleet file, or give it quicker or more GPUs"
    return (
        "use a GPU with more memory, more gpus_per_node, or a checkpoint with narrower weights "
        "(FP8, NVFP4); `headrace hardware` lists the catalog"
    )
