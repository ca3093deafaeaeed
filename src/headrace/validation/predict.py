"""A measured point, predicted: the same model, GPU, settings and load as the row says."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from headrace.errors import InputError
from headrace.hardware.gpu import Gpu
from headrace.hardware.load import load_gpu
from headrace.models.facts import KV_BYTES, KvDtype, ModelFacts, WeightsDtype
from headrace.models.load import load_model
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Constants
from headrace.perf.memory import linear_bytes, plan_memory
from headrace.perf.operators import step_model
from headrace.perf.steady import Load, SteadyState, steady_state
from headrace.perf.step import StepBatch, StepModel
from headrace.validation.points import Point

ALIASES: dict[str, str] = {
    "meta-llama/Llama-3.1-70B": "meta-llama/Llama-3.1-70B-Instruct",
    "gpt-oss-120b": "openai/gpt-oss-120b",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "Qwen3-32B": "Qwen/Qwen3-32B",
}
"""Names that published tables use for packaged models."""
WEIGHTS: dict[str, WeightsDtype] = {
    "": "bf16",
    "bf16": "bf16",
    "fp8": "fp8_tensor",
    "fp4": "nvfp4",
    "nvfp4": "nvfp4",
    "mxfp4": "mxfp4",
}
ASSUMED_VERSION = "0.18.0"
"""Where a row names no version: that of the published tables' time (2026-03 and 04)."""
BATCHED_TOKENS = 8192
MARGIN_TOKENS = 64
FIRST_WAVE_SHARE = 0.2
"""Published clients start all requests at once and send about five waves: this share of requests
waits for the prompts of the whole first wave."""


class UnsupportedError(Exception):
    """The row lacks what a prediction needs, or is of a kind that is not modelled."""


@dataclass(frozen=True)
class Predicted:
    """What the model says of a point; throughput is of all its GPUs."""

    tpot_ms: float
    ttft_ms: float
    total_tok_s: float
    band: float


def predict(point: Point, constants: Constants) -> Predicted:
    """Predict one point. Raises UnsupportedError with the reason."""
    concurrency = _concurrency(point)
    isl, osl = _lengths(point)
    facts = _facts(point)
    try:
        gpu = load_gpu(point.gpu)
    except InputError as error:
        raise UnsupportedError(str(error)) from error
    config = _config(point, facts, concurrency, isl + osl)
    memory = plan_memory(facts, gpu, config, constants.memory)
    running = min(config.max_num_seqs, memory.sequences(isl + osl))
    if running == 0:
        raise UnsupportedError("the model does not fit as the row describes it")
    _check_possible(point, facts, config, gpu, min(concurrency, running))
    model = step_model(facts, gpu, config, constants)
    load = Load(isl, osl, 0.0, 0.0, 0)
    steady = steady_state(model, load, concurrency, running, BATCHED_TOKENS)
    _check_running(point, osl, concurrency, steady.decoding)
    replicas = (point.n_gpus or config.tensor_parallel) / config.tensor_parallel
    host = constants.host_of(config.version, facts.family, gpu.name)
    return Predicted(
        tpot_ms=steady.tpot_s * 1e3,
        ttft_ms=_ttft_s(steady, model, isl, concurrency) * 1e3,
        total_tok_s=steady.request_s * (isl + osl) * replicas,
        band=host.band,
    )


def _concurrency(point: Point) -> int:
    """Requests in flight per replica. Raises UnsupportedError for what is not modelled."""
    if point.engine != "vllm":
        raise UnsupportedError(f"engine {point.engine or '(none)'}: only vllm is modelled")
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
    try:
        facts = load_model(ALIASES.get(point.model, point.model))
    except InputError as error:
        raise UnsupportedError(str(error)) from error
    if facts.weights_dtype == "mxfp4":
        return facts
    if point.weights_dtype not in WEIGHTS:
        raise UnsupportedError(f"weights_dtype {point.weights_dtype} is not known")
    return replace(facts, weights_dtype=WEIGHTS[point.weights_dtype])


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


def _check_running(point: Point, osl: int, concurrency: int, decoding: float) -> None:
    """By Little's law a row's own TTFT and TPOT say how many of its requests decoded at a time.

    Raises UnsupportedError when that is less than half of what the stated load would decode: the
    server then ran a smaller batch than the row states.
    """
    if point.tpot_ms is None or point.ttft_ms is None or osl < 2:
        return
    decode_ms = point.tpot_ms * (osl - 1)
    implied = concurrency * decode_ms / (decode_ms + point.ttft_ms)
    if implied < decoding / 2:
        raise UnsupportedError("most requests queued: the batch was smaller than the row states")


def _kv_dtype(point: Point, facts: ModelFacts) -> KvDtype:
    """As stated; else FP8 for FP8 and FP4 checkpoints, which bring its scales, and 16 bit."""
    if point.kv_dtype:
        return "fp8" if "8" in point.kv_dtype else "bf16"
    return "fp8" if facts.weights_dtype in ("fp8_tensor", "nvfp4") else "bf16"


def _ttft_s(steady: SteadyState, model: StepModel, isl: int, concurrency: int) -> float:
    """The steady TTFT, and the first wave's: on average half of its prompts come before one's."""
    prompts = max(1.0, BATCHED_TOKENS / isl)
    batch = StepBatch(0, 0, BATCHED_TOKENS, prompts, BATCHED_TOKENS * isl / 2)
    wave_s = concurrency * isl / 2 / BATCHED_TOKENS * model.step_s(batch)
    return steady.ttft_s + FIRST_WAVE_SHARE * wave_s
