"""Where a GPU's memory goes: weights, activations, and the paged cache for KV and states."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headrace.hardware.gpu import Gpu
from headrace.models.facts import KV_BYTES, STATE_BYTES, Linear, ModelFacts
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Memory
from headrace.scheduler.spec import CacheSpec

WEIGHT_BYTES: dict[str, float] = {
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8_block": 1.0 + 4 / (128 * 128),
    "fp8_channel": 1.0,
    "fp8_tensor": 1.0,
    "int8": 1.0,
    "nvfp4": 0.5 + 1 / 16,
    "mxfp4": 0.5 + 1 / 32,
    "int4": 0.5 + 2 / 128,
}
"""Bytes per weight, scales included."""

DENSE_PAGE_TOKENS = 16


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on one GPU of a replica."""

    weights_bytes: float
    activations_bytes: float
    free_bytes: float
    """Left for the cache; negative when the model does not fit."""
    kv_bytes_per_token: float
    state_bytes_per_sequence: float
    cache: CacheSpec

    def sequences(self, tokens: int) -> int:
        """Sequences of so many tokens that the cache holds at once."""
        return max(0, self.cache.pages // self.cache.pages_for(tokens))


def linear_bytes(linear: Linear, facts: ModelFacts) -> float:
    """Bytes of a group of matrices as vLLM keeps them."""
    width = WEIGHT_BYTES[facts.weights_dtype] if linear.quantized else 2.0
    return linear.parameters * width


def weights_bytes(facts: ModelFacts, config: EngineConfig) -> float:
    """All weights of a replica: language model, MTP when drafting, vision unless left out."""
    linears = facts.linears + (facts.mtp_linears if config.mtp_depth else ())
    vision = 0 if config.text_only else facts.vision_parameters
    unquantized = facts.embedding_parameters + facts.extra_parameters + vision
    return sum(linear_bytes(x, facts) for x in linears) + 2.0 * unquantized


def plan_memory(facts: ModelFacts, gpu: Gpu, config: EngineConfig, constants: Memory) -> MemoryPlan:
    """Split one GPU's memory as vLLM does at start-up."""
    tp = config.tensor_parallel
    weights = weights_bytes(facts, config) / tp
    activations = (
        constants.runtime_bytes * (1 if gpu.kind == "gpu" else 0.2)
        + constants.bytes_per_batched_token_and_hidden
        * config.max_num_batched_tokens
        * facts.hidden_size
        + constants.bytes_per_sequence_and_vocab * config.max_num_seqs * facts.vocab_size / tp
    )
    free = gpu.memory_bytes * config.gpu_memory_utilization - weights - activations
    kv = sum(
        KV_BYTES[config.kv_dtype] * a.kv_values_per_token / kv_split(a.kv_heads, a.latent_dim, tp)
        for a in facts.attention
    )
    return MemoryPlan(
        weights_bytes=weights,
        activations_bytes=activations,
        free_bytes=free,
        kv_bytes_per_token=kv,
        state_bytes_per_sequence=(1 + config.mtp_depth)
        * facts.state_bytes_per_sequence(config.state_dtype)
        / tp,
        cache=_cache(facts, config, free),
    )


def kv_split(kv_heads: int, latent_dim: int | None, tp: int) -> int:
    """Over how many GPUs the cache is split: heads are copied beyond their number, MLA always."""
    return 1 if latent_dim else min(tp, kv_heads)


def _cache(facts: ModelFacts, config: EngineConfig, free_bytes: float) -> CacheSpec:
    """The page pool: of one kind in dense models, shared with states in hybrids."""
    if facts.linear_attention is None:
        return _attention_cache(facts, config, free_bytes)
    return _hybrid_cache(facts, config, free_bytes)


def _attention_cache(facts: ModelFacts, config: EngineConfig, free_bytes: float) -> CacheSpec:
    """Pages of 16 tokens over the full-attention layers; a sliding window is a fixed part."""
    tp = config.tensor_parallel
    width = KV_BYTES[config.kv_dtype]
    full = [a for a in facts.attention if a.window_tokens is None] or list(facts.attention)
    windowed = [a for a in facts.attention if a not in full]
    values = sum(a.kv_values_per_token / kv_split(a.kv_heads, a.latent_dim, tp) for a in full)
    if config.mtp_depth and facts.mtp_attention:
        mtp = facts.mtp_attention
        values += mtp.kv_values_per_token / kv_split(mtp.kv_heads, mtp.latent_dim, tp)
    page_bytes = DENSE_PAGE_TOKENS * width * values
    window_bytes = sum(
        width
        * a.kv_values_per_token
        / kv_split(a.kv_heads, a.latent_dim, tp)
        * ((a.window_tokens or 0) + DENSE_PAGE_TOKENS)
        for a in windowed
    )
    return CacheSpec(
        pages=max(0, int(free_bytes / page_bytes)),
        page_tokens=DENSE_PAGE_TOKENS,
        state_pages=math.ceil(window_bytes / page_bytes),
    )


def _hybrid_cache(facts: ModelFacts, config: EngineConfig, free_bytes: float) -> CacheSpec:
    """vLLM's hybrid pool: every page holds one group of layers, attention or states alike.

    A layer's page is as large as one sequence's state in one layer; the attention page takes as
    many tokens as fill it (rounded up to 16). Groups hold as many layers as there are attention
    layers (with the MTP layer when drafting). On one H200 with Qwen3.5-27B this gives pages of
    800 tokens with bf16 state and FP8 cache, as vLLM 0.26.0 reports them.
    """
    gdn = facts.linear_attention
    assert gdn is not None
    tp = config.tensor_parallel
    attention = facts.attention[0]
    split = kv_split(attention.kv_heads, attention.latent_dim, tp)
    token_bytes = (
        KV_BYTES[config.kv_dtype] * attention.kv_values_per_token / attention.layers / split
    )
    state_bytes = (
        STATE_BYTES[config.state_dtype] * gdn.state_values_per_layer + 2 * gdn.conv_values_per_layer
    ) / tp
    page_tokens = 16 * math.ceil(state_bytes / token_bytes / 16)
    group = attention.layers + (facts.mtp_layers if config.mtp_depth else 0)
    return CacheSpec(
        pages=max(0, int(free_bytes / (page_tokens * token_bytes * group))),
        page_tokens=page_tokens,
        state_pages=math.ceil(gdn.layers / group) * (1 + config.mtp_depth),
    )
