"""Dense transformers with grouped-query attention: Llama, Mistral, Qwen2, Qwen3."""

from __future__ import annotations

from headrace.models.blocks import gqa, gqa_cache, mlp
from headrace.models.config import Config
from headrace.models.facts import ModelFacts
from headrace.models.families.registry import Family


def build(config: Config) -> ModelFacts:
    """Every layer alike: attention, then a gated MLP."""
    hidden, layers = config.whole("hidden_size"), config.whole("num_hidden_layers")
    stack = config.stack(range(layers))
    return ModelFacts(
        name=config.name,
        architecture=config.architecture,
        family="dense",
        hidden_size=hidden,
        layers=layers,
        vocab_size=config.whole("vocab_size"),
        tied_embeddings=config.flag("tie_word_embeddings", False),
        max_context_tokens=config.whole("max_position_embeddings"),
        weights_dtype=config.quantization.dtype,
        linears=gqa(stack, config) + mlp(stack, hidden, config.whole("intermediate_size")),
        attention=(gqa_cache(config, layers, window(config)),),
        extra_parameters=hidden + layers * (2 * hidden + _extra_per_layer(config)),
        path=config.path,
    )


def window(config: Config) -> int | None:
    """The sliding window where it is in use: Qwen configs state one and switch it off."""
    if not config.flag("use_sliding_window", True):
        return None
    return config.whole_or_none("sliding_window") or None


def _extra_per_layer(config: Config) -> int:
    """Biases, and Qwen3's norms of queries and keys."""
    dim, hidden = config.head_dim, config.whole("hidden_size")
    qkv = (config.heads + 2 * config.kv_heads) * dim
    if config.architecture == "Qwen2ForCausalLM":
        return qkv
    extra = qkv + hidden if config.flag("attention_bias", False) else 0
    if config.flag("mlp_bias", False):
        extra += 2 * config.whole("intermediate_size") + hidden
    return extra + (2 * dim if config.architecture == "Qwen3ForCausalLM" else 0)


FAMILIES = (
    Family(
        architectures=(
            "LlamaForCausalLM",
            "MistralForCausalLM",
            "Qwen2ForCausalLM",
            "Qwen3ForCausalLM",
        ),
        required=("intermediate_size",),
        build=build,
    ),
)
