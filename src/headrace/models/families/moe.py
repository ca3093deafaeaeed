"""Mixtures of experts with grouped-query attention: Qwen3-MoE and Mixtral."""

from __future__ import annotations

from headrace.models.blocks import experts, gqa, gqa_cache, mlp, sparse_layers
from headrace.models.config import Config
from headrace.models.facts import Experts, Linear, ModelFacts
from headrace.models.families.dense import window
from headrace.models.families.registry import Family


def build_qwen3(config: Config) -> ModelFacts:
    """Qwen3-MoE: no shared expert; single layers may be dense."""
    hidden, layers = config.whole("hidden_size"), config.whole("num_hidden_layers")
    total, active = config.whole("num_experts"), config.whole("num_experts_per_tok")
    sparse = sparse_layers(config, layers)
    dense = [layer for layer in range(layers) if layer not in sparse]
    width = config.whole("moe_intermediate_size")
    linears = experts(config.stack(sparse), hidden, width, total, active)
    if dense:
        linears += mlp(config.stack(dense), hidden, config.whole("intermediate_size"))
    norms = layers * (2 * hidden + 2 * config.head_dim) + hidden
    return _facts(config, linears, Experts(len(sparse), total, active), norms)


def build_mixtral(config: Config) -> ModelFacts:
    """Mixtral: experts in every layer, as wide as the MLP that they replace."""
    hidden, layers = config.whole("hidden_size"), config.whole("num_hidden_layers")
    total, active = config.whole("num_local_experts"), config.whole("num_experts_per_tok")
    stack, width = config.stack(range(layers)), config.whole("intermediate_size")
    linears = experts(stack, hidden, width, total, active, "block_sparse_moe")
    norms = layers * 2 * hidden + hidden
    return _facts(config, linears, Experts(layers, total, active), norms)


def _facts(
    config: Config, feed_forward: tuple[Linear, ...], shape: Experts, extra: int
) -> ModelFacts:
    layers = config.whole("num_hidden_layers")
    return ModelFacts(
        name=config.name,
        architecture=config.architecture,
        family="moe",
        hidden_size=config.whole("hidden_size"),
        layers=layers,
        vocab_size=config.whole("vocab_size"),
        tied_embeddings=config.flag("tie_word_embeddings", False),
        max_context_tokens=config.whole("max_position_embeddings"),
        weights_dtype=config.quantization.dtype,
        linears=gqa(config.stack(range(layers)), config) + feed_forward,
        attention=(gqa_cache(config, layers, window(config)),),
        experts=shape,
        extra_parameters=extra,
        path=config.path,
    )


FAMILIES = (
    Family(
        architectures=("Qwen3MoeForCausalLM",),
        required=("num_experts", "num_experts_per_tok", "moe_intermediate_size"),
        build=build_qwen3,
    ),
    Family(
        architectures=("MixtralForCausalLM",),
        required=("num_local_experts", "num_experts_per_tok", "intermediate_size"),
        build=build_mixtral,
    ),
)
