"""From a run's folder to a case: what was planned, started and measured there."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from headrace.engines.vllm import args as vllm_args
from headrace.errors import InputError
from headrace.hardware.load import load_gpu_of
from headrace.loadgen.summary import Summary
from headrace.models.facts import ModelFacts
from headrace.models.load import load_model
from headrace.perf.constants import Constants
from headrace.perf.steady import Load
from headrace.planner.arrive import refill_of
from headrace.planner.plan import Plan
from headrace.validation.predict import Case, Measured

Part = TypeVar("Part", bound=BaseModel)


def case_of_run(
    folder: Path, constants: Constants, simulated: bool = False, model: str | None = None
) -> Case:
    """One run of `headrace run`, as a measurement; `model` instead of a folder that is not here.

    Raises InputError for a folder that holds no finished run, for a run that was not valid, and,
    unless `simulated`, for one whose GPUs were simulated: it would confirm the plan by itself.
    """
    plan, summary = _read(folder, "plan.json", Plan), _read(folder, "summary.json", Summary)
    if summary.engine == "simulated" and not simulated:
        raise InputError(
            f"{folder}: its GPUs were simulated, so it says nothing about real ones",
            hint="calibrate with runs of engine.kind vllm; --simulated tries the path",
        )
    if not summary.valid or summary.latency_ms is None:
        reason = "; ".join(summary.invalid_reasons) or "nothing completed"
        raise InputError(f"{folder}: not a valid measurement: {reason}", hint="run it again")
    facts = load_model(model or plan.fleet.model)
    return _case(folder.name, plan, summary, constants, facts)


def _case(name: str, plan: Plan, summary: Summary, constants: Constants, facts: ModelFacts) -> Case:
    fleet, layout = plan.fleet, plan.chosen.layout
    gpu = load_gpu_of(fleet.hardware)
    engine = fleet.engine
    args = plan.chosen.engine_args
    configured = vllm_args.configured(engine, args, gpu, facts)
    completed = max(1, summary.requests.completed)
    refill = refill_of(fleet, layout.replicas)
    latency = summary.latency_ms
    assert latency is not None
    return Case(
        id=name,
        cell=("vllm", plan.model, gpu.name, facts.weights_dtype),
        engine="vllm",
        facts=facts,
        gpu=gpu,
        kernels=constants.kernels_of(gpu),
        config=configured,
        load=Load(
            input_tokens=max(1, round(summary.tokens.input / completed)),
            output_tokens=max(1, round(summary.tokens.output / completed)),
            prefix_hit_rate=plan.chosen.prediction.prefix_hit_rate,
            acceptance=fleet.workload.acceptance.get("mtp", 0.0) if configured.mtp_depth else 0.0,
            mtp_depth=configured.mtp_depth,
        ),
        concurrency=summary.concurrency.mean / layout.replicas + (refill.size - 1) / 2,
        running=plan.chosen.max_running,
        replicas=layout.replicas,
        measured=Measured(latency.tpot.mean, latency.ttft.mean, summary.throughput.total_tok_s),
        at_once=False,
        refill=refill,
    )


def _read(folder: Path, name: str, part: type[Part]) -> Part:
    path = folder / name
    try:
        return part.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}", hint="name the folder of a finished `headrace run`"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: {field}: {first['msg']}", hint="it was written by another version: run again"
        ) from error
