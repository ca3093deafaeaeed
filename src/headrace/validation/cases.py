"""From a row of measured points to a case that can be predicted, or the reason why it cannot."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

from headrace.errors import InputError
from headrace.hardware.gpu import Gpu
from headrace.hardware.load import load_gpu
from headrace.models.facts import KV_BYTES, KvDtype, ModelFacts, WeightsDtype
from headrace.models.load import load_model
from headrace.perf.calibration import Engine, version_key
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Constants, SglangMemory
from headrace.perf.memory import linear_bytes, plan_memory, weights_bytes
from headrace.perf.steady import Load
from headrace.validation.points import Point
from headrace.validation.predict import Case, Measured

QWEN27B = "Qwen/Qwen3.5-27B"
ALIASES: dict[str, str] = {
    "meta-llama/Llama-3.1-70B": "meta-llama/Llama-3.1-70B-Instruct",
    "meta-llama/Llama-3.1-8B": "meta-llama/Llama-3.1-8B-Instruct",
    "gpt-oss-120b": "openai/gpt-oss-120b",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "Qwen3-32B": "Qwen/Qwen3-32B",
    "Qwen3.5-4B": "Qwen/Qwen3.5-4B",
    "Qwen3.5-9B": "Qwen/Qwen3.5-9B",
    "Qwen3.5-27B": QWEN27B,
    "Qwen3.6-27B": QWEN27B,
    "Qwen/Qwen3.6-27B": QWEN27B,
    "Qwen3.5/3.6-27B (earlier cookbook revision)": QWEN27B,
    "Qwen3.5-35B-A3B": "Qwen/Qwen3.5-35B-A3B",
    "Qwen3.6-35B-A3B": "Qwen/Qwen3.5-35B-A3B",
}
"""Names that published tables use for packaged models, and models of the same shape."""
WEIGHTS: dict[str, WeightsDtype] = {
    "": "bf16",
    "bf16": "bf16",
    "fp8": "fp8_tensor",
    "fp4": "nvfp4",
    "nvfp4": "nvfp4",
    "mxfp4": "mxfp4",
}
BLOCK_FP8 = ("Qwen/Qwen3",)
"""Publishers whose FP8 checkpoints have 128 x 128 blocks."""
SGLANG_FROM = (0, 5, 15)
"""Older SGLang schedules hybrids differently and is not modelled."""
ASSUMED_VERSION = "0.18.0"
"""Where a row names no version: that of the published tables' time (2026-03 and 04)."""
BATCHED_TOKENS = 8192
MARGIN_TOKENS = 64


class UnsupportedError(Exception):
    """The row lacks what a prediction needs, or is of a kind that is not modelled."""


def case_of(point: Point, constants: Constants) -> Case:
    """Everything about one row. Raises UnsupportedError with the reason."""
    engine = _engine(point)
    concurrency = _concurrency(point)
    isl, osl = _lengths(point)
    facts, slower = _overridden(engine, _facts(point), constants)
    gpu = _gpu(point.gpu)
    config = _config(point, facts, concurrency, isl + osl)
    _check_engine(engine, point, facts)
    running = _running(engine, facts, gpu, config, constants)
    _check_possible(point, facts, config, gpu, min(concurrency, running))
    case = Case(
        id=point.id,
        cell=(point.engine, point.model, point.gpu, point.weights_dtype),
        engine=engine,
        facts=facts,
        gpu=gpu,
        kernels=constants.kernels_of(gpu),
        config=config,
        load=Load(isl, osl, 0.0, 0.0, 0),
        concurrency=concurrency,
        running=running,
        replicas=(point.n_gpus or config.tensor_parallel) / config.tensor_parallel,
        measured=Measured(point.tpot_ms, point.ttft_ms, point.total_tok_s),
        slower=slower,
    )
    _check_running(case)
    return case


def _engine(point: Point) -> Engine:
    if point.engine == "vllm":
        return "vllm"
    if point.engine == "sglang":
        return "sglang"
    raise UnsupportedError(f"engine {point.engine or '(none)'}: only vllm is modelled")


def _check_engine(engine: Engine, point: Point, facts: ModelFacts) -> None:
    """SGLang's rows count as evidence for hybrid models, which no vLLM table covers."""
    if engine == "vllm":
        return
    if not facts.family.startswith("hybrid"):
        raise UnsupportedError("engine sglang: modelled for hybrid models only")
    if version_key(point.engine_version)[:3] < SGLANG_FROM:
        raise UnsupportedError("engine sglang before 0.5.15 is not modelled")


def _concurrency(point: Point) -> int:
    """Requests in flight per replica. Raises UnsupportedError for what is not modelled."""
    if point.spec_decode:
        raise UnsupportedError("speculative decoding without a stated acceptance rate")
    if (point.pp or 1) > 1:
        raise UnsupportedError("pipeline parallelism is not modelled")
    if point.tp is None:
        raise UnsupportedError("tensor parallelism is not stated")
    if point.concurrency is None:
        raise UnsupportedError("the load (concurrency) is not stated")
    return point.concurrency


def _lengths(point: Point) -> tuple[int, int]:
    if point.isl is None or point.osl is None:
        raise UnsupportedError("input and output lengths are not fixed numbers")
    return point.isl, point.osl


def _facts(point: Point) -> ModelFacts:
    name = ALIASES.get(point.model, point.model)
    facts = _model(name)
    if facts.weights_dtype == "mxfp4":
        return facts
    if point.weights_dtype not in WEIGHTS:
        raise UnsupportedError(f"weights_dtype {point.weights_dtype} is not known")
    weights = WEIGHTS[point.weights_dtype]
    if weights == "fp8_tensor" and name.startswith(BLOCK_FP8):
        weights = "fp8_block"
    return replace(facts, weights_dtype=weights)


def _overridden(
    engine: Engine, facts: ModelFacts, constants: Constants
) -> tuple[ModelFacts, float]:
    """The model as measurements say that it runs, and how much slower than modelled."""
    override = constants.override_of(engine, facts.family, facts.weights_dtype)
    if override is None:
        return facts, 1.0
    return replace(facts, weights_dtype=override.as_weights), override.step_time


@cache
def _model(name: str) -> ModelFacts:
    try:
        return load_model(name)
    except InputError as error:
        raise UnsupportedError(str(error)) from error


@cache
def _gpu(name: str) -> Gpu:
    try:
        return load_gpu(name)
    except InputError as error:
        raise UnsupportedError(str(error)) from error


def _config(point: Point, facts: ModelFacts, concurrency: int, tokens: int) -> EngineConfig:
    named = point.engine_version
    return EngineConfig(
        version=named if named[:1].isdigit() else ASSUMED_VERSION,
        tensor_parallel=point.tp or 1,
        kv_dtype=_kv_dtype(point, facts),
        state_dtype=facts.state_dtype,
        mtp_depth=0,
        max_num_seqs=point.max_batch or concurrency,
        max_num_batched_tokens=BATCHED_TOKENS,
        max_model_len=tokens + MARGIN_TOKENS,
    )


def _kv_dtype(point: Point, facts: ModelFacts) -> KvDtype:
    """As stated; else FP8 for FP8 and FP4 checkpoints that bring its scales, and 16 bit."""
    if point.kv_dtype:
        return "fp8" if "8" in point.kv_dtype else "bf16"
    scaled = facts.weights_dtype in ("fp8_tensor", "nvfp4") and point.engine == "vllm"
    return "fp8" if scaled else "bf16"


def _running(
    engine: Engine,
    facts: ModelFacts,
    gpu: Gpu,
    config: EngineConfig,
    constants: Constants,
) -> int:
    """Sequences that run at once. Raises UnsupportedError where not even one fits."""
    if engine == "vllm":
        memory = plan_memory(facts, gpu, config, constants.memory)
        running = memory.sequences(config.max_model_len - MARGIN_TOKENS)
    else:
        running = sglang_running(facts, gpu, config, constants.sglang)
    running = min(config.max_num_seqs, running)
    if running < 1:
        raise UnsupportedError("the model does not fit as the row describes it")
    return running


def sglang_running(
    facts: ModelFacts, gpu: Gpu, config: EngineConfig, constants: SglangMemory
) -> int:
    """As many as memory holds states for, of a hybrid model on SGLang."""
    free = gpu.memory_bytes * constants.memory_share * config.tensor_parallel
    free -= weights_bytes(facts, config)
    state = facts.state_bytes_per_sequence("float32")
    return int(free / (constants.states_per_sequence * state))


def _check_possible(
    point: Point, facts: ModelFacts, config: EngineConfig, gpu: Gpu, running: int
) -> None:
    """A step reads the weights and every running sequence's cache once, at best at full bandwidth.

    Raises UnsupportedError when the measured TPOT is below that: the load was not the stated one.
    """
    if point.tpot_ms is None or point.isl is None or point.osl is None:
        return
    experts = facts.experts
    touched = 1 - math.pow(1 - experts.active / experts.total, running) if experts else 1.0
    weights = sum(
        linear_bytes(x, facts) * (touched if x.stored > x.count else 1) for x in facts.linears
    )
    full = [a for a in facts.attention if a.window_tokens is None]
    context = running * (point.isl + point.osl / 2)
    cache = KV_BYTES[config.kv_dtype] * sum(a.kv_values_per_token for a in full) * context
    floor_ms = (weights + cache) / gpu.bandwidth_bytes_s / config.tensor_parallel * 1e3
    if point.tpot_ms < floor_ms:
        raise UnsupportedError(
            "TPOT is below what memory bandwidth allows at the stated concurrency"
        )


def _check_running(case: Case) -> None:
    """By Little's law a row's own TTFT and TPOT say how many of its requests decoded at a time.

    Raises UnsupportedError when that is less than half of what the stated load would decode: the
    server then ran a smaller batch than the row states.
    """
    tpot_ms, ttft_ms = case.measured.tpot_ms, case.measured.ttft_ms
    if case.engine != "vllm" or tpot_ms is None or ttft_ms is None or case.load.output_tokens < 2:
        return
    decode_ms = tpot_ms * (case.load.output_tokens - 1)
    implied = case.concurrency * decode_ms / (decode_ms + ttft_ms)
    if implied < min(case.concurrency, case.running) / 2:
        raise UnsupportedError("most requests queued: the batch was smaller than the row states")
