"""From a fleet, a model and a GPU to a plan. Pure: the caller has loaded all three."""

from __future__ import annotations

import time
from collections.abc import Sequence

from headrace import __version__
from headrace.engines.vllm import args as vllm_args
from headrace.engines.vllm.stand_ins import stand_ins, with_stand_ins
from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.constants import Constants
from headrace.perf.load import current_constants
from headrace.perf.replica import ReplicaModel
from headrace.planner import checkpoints, explain
from headrace.planner.checkpoints import Checkpoint
from headrace.planner.evaluate import Candidate, Evaluator
from headrace.planner.find import Found
from headrace.planner.latency import Spread
from headrace.planner.plan import (
    Choice,
    Layout,
    MemoryBytes,
    ParetoPoint,
    Percentiles,
    Plan,
    Prediction,
)
from headrace.planner.search import pareto
from headrace.scheduler.spec import SchedulerSpec
from headrace.spec.fleet import Fleet
from headrace.spec.slo import METRICS


def make_plan(
    fleet: Fleet,
    facts: ModelFacts,
    gpu: Gpu,
    constants: Constants | None = None,
    others: Sequence[Checkpoint] = (),
) -> Plan:
    """Search, choose and explain. `others` are checkpoints that may be chosen instead of `facts`.

    Raises InfeasibleError when nothing runs, or nothing keeps the SLO; the message names the
    nearest miss and what would help.
    """
    began = time.perf_counter()
    own = Checkpoint(fleet.model, facts)
    best = checkpoints.choose(fleet, own, others, gpu, constants or current_constants())
    found = best.found
    chosen, searched, evaluator = found.chosen, found.searched, found.evaluator
    fleet, facts = evaluator.fleet, evaluator.facts
    choice = _choice(found, checkpoints.reasons(best.rows))
    return Plan(
        headrace_version=__version__,
        fleet=fleet,
        model=facts.name,
        parameters=facts.parameters,
        gpu=gpu.name,
        usd_per_gpu_hour=fleet.hardware.usd_per_gpu_hour or gpu.usd_per_hour,
        chosen=choice,
        stand_ins=_stand_ins(fleet, facts, choice),
        simulation=replica_model(chosen, evaluator).to_json(),
        pareto=[_point(c, facts) for c in pareto(searched.running())],
        rejected=explain.rejected(found.full, searched, facts),
        checkpoints=best.rows,
        searched=searched.count * (1 + len(others)),
        elapsed_s=time.perf_counter() - began,
    )


def _stand_ins(fleet: Fleet, facts: ModelFacts, choice: Choice) -> dict[str, str]:
    if fleet.engine.kind != "vllm":
        return {}
    return stand_ins(choice.engine_args, facts.random_weights)


def replica_model(chosen: Candidate, evaluator: Evaluator) -> ReplicaModel:
    """What the simulated engine and the simulator run on: the plan's own step times and limits."""
    config = chosen.config
    load = chosen.serving.load
    return ReplicaModel(
        step=evaluator.step_model(config),
        scheduler=SchedulerSpec(
            max_num_seqs=config.max_num_seqs,
            max_num_batched_tokens=config.max_num_batched_tokens,
            max_model_len=config.max_model_len,
            cache=chosen.memory.cache,
            mtp_depth=config.mtp_depth,
            acceptance=load.acceptance,
            prefix_hit_rate=load.prefix_hit_rate,
            stream_interval=config.stream_interval,
            steps_ahead=evaluator.calibration.decided(config.async_scheduling),
        ),
    )


def _choice(found: Found, reasons: list[str]) -> Choice:
    chosen, evaluator = found.chosen, found.evaluator
    fleet, config = evaluator.fleet, chosen.config
    args = vllm_args.engine_args(config, evaluator.facts, planned=fleet.engine.planned)
    args = vllm_args.overridden(args, fleet.engine.args)
    args = with_stand_ins(args, fleet.engine, fleet.workload.acceptance.get("mtp", 0.0))
    memory = chosen.memory
    command = vllm_args.command(fleet.model, args, config.version, fleet.engine.executable)
    return Choice(
        layout=_layout(chosen, fleet),
        engine_args=args,
        command=vllm_args.shell(command),
        prediction=_prediction(chosen, evaluator),
        memory_bytes=MemoryBytes(
            weights=memory.weights_bytes,
            kv_per_token=memory.kv_bytes_per_token,
            state_per_sequence=memory.state_bytes_per_sequence,
            activations=memory.activations_bytes,
            free=memory.free_bytes,
        ),
        bound_by=explain.bound_by(chosen),
        why=reasons + explain.why(found),
        max_running=chosen.running,
    )


def _layout(chosen: Candidate, fleet: Fleet) -> Layout:
    return Layout(
        tensor_parallel=chosen.config.tensor_parallel,
        replicas=chosen.replicas,
        gpus=chosen.replicas * chosen.config.tensor_parallel,
        nodes=fleet.hardware.nodes,
        replicas_per_node=-(-chosen.replicas // fleet.hardware.nodes),
    )


def _prediction(chosen: Candidate, evaluator: Evaluator) -> Prediction:
    fleet, total = evaluator.fleet, chosen.total_tok_s
    request_s = total / evaluator.demand.tokens
    band = explain.band(evaluator)
    price = fleet.hardware.usd_per_gpu_hour or evaluator.gpu.usd_per_hour
    usd = price * fleet.hardware.gpus / (total * 3600) * 1e6 if price else None
    latencies = evaluator.latencies(chosen)
    return Prediction(
        total_tok_s=total,
        total_tok_s_per_gpu=chosen.total_tok_s_per_gpu,
        output_tok_s=request_s * evaluator.demand.output_tokens,
        request_s=request_s,
        tpot_ms=latencies.tpot.mean_s * 1e3,
        tpot_p99_ms=latencies.tpot.at_s[99] * 1e3,
        ttft_ms=latencies.ttft.mean_s * 1e3,
        ttft_p99_ms=latencies.ttft.at_s[99] * 1e3,
        latency_ms={metric: _percentiles(latencies.of(metric)) for metric in METRICS},
        prefix_hit_rate=chosen.serving.load.prefix_hit_rate,
        concurrency_per_replica=chosen.concurrency,
        usd_per_million_tokens=usd,
        low_total_tok_s=total * (1 - band),
        high_total_tok_s=total * (1 + band),
    )


def _percentiles(spread: Spread) -> Percentiles:
    at_ms = {f"p{percentile}": at_s * 1e3 for percentile, at_s in spread.at_s.items()}
    return Percentiles(mean=spread.mean_s * 1e3, **at_ms)


def _point(candidate: Candidate, facts: ModelFacts) -> ParetoPoint:
    return ParetoPoint(
        total_tok_s_per_gpu=candidate.total_tok_s_per_gpu,
        tpot_ms=candidate.steady.tpot_s * 1e3,
        config=explain.shown(candidate.config, facts),
    )
