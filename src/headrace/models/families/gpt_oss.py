"""gpt-oss: experts in MXFP4, every other layer with a sliding window, biases and sinks."""

from __future__ import annotations

from headrace.models.blocks import experts, gqa, gqa_cache
from headrace.models.config import Config
from headrace.models.facts import Attention, Experts, ModelFacts
from headrace.models.families.registry import Family


def build(config: Config) -> ModelFacts:
    """All layers have experts; attention alternates between a window and the full context."""
    hidden, layers = config.whole("hidden_size"), config.whole("num_hidden_layers")
    total, active = config.whole("num_local_experts"), config.whole("num_experts_per_tok")
    stack, width = config.stack(range(layers)), config.whole("intermediate_size")
    return ModelFacts(
        name=config.name,
        architecture=config.architecture,
        family="moe",
        hidden_size=hidden,
        layers=layers,
        vocab_size=config.whole("vocab_size"),
        tied_embeddings=config.flag("tie_word_embeddings", False),
        max_context_tokens=config.whole("max_position_embeddings"),
        weights_dtype=config.quantization.dtype,
        linears=gqa(stack, config) + experts(stack, hidden, width, total, active),
        attention=_attention(config, layers),
        experts=Experts(layers, total, active),
        extra_parameters=hidden + layers * _extra_per_layer(config, total, width),
        path=config.path,
    )


def _attention(config: Config, layers: int) -> tuple[Attention, ...]:
    """Full and windowed layers apart: the windowed ones stop growing."""
    kinds = config.layer_kinds(layers)
    windowed = layers // 2 if kinds is None else kinds.count("sliding_attention")
    caches = (
        gqa_cache(config, layers - windowed),
        gqa_cache(config, windowed, config.whole("sliding_window")),
    )
    return tuple(cache for cache in caches if cache.layers)


def _extra_per_layer(config: Config, total: int, width: int) -> int:
    """Norms, one attention sink per head, and biases of attention, router and experts."""
    hidden = config.whole("hidden_size")
    qkv = (config.heads + 2 * config.kv_heads) * config.head_dim
    biases = qkv + hidden + total + total * (2 * width + hidden)
    return 2 * hidden + config.heads + biases


FAMILIES = (
    Family(
        architectures=("GptOssForCausalLM",),
        required=(
            "num_local_experts",
            "num_experts_per_tok",
            "intermediate_size",
            "sliding_window",
        ),
        build=build,
    ),
)
