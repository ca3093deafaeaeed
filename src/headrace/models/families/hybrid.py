"""Hybrids of gated-delta-net layers and gated full attention: Qwen3.5 and Qwen3-Next."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.errors import InputError
from headrace.models.blocks import experts, gqa, gqa_cache, mlp, sparse_layers
from headrace.models.config import Config, Stack
from headrace.models.facts import (
    Experts,
    Linear,
    LinearAttention,
    ModelFacts,
    StateDtype,
)
from headrace.models.families.registry import Family
from headrace.models.vision import qwen_vision_parameters

LINEAR, FULL = "linear_attention", "full_attention"


def build(config: Config) -> ModelFacts:
    """Layers of two kinds of attention, each followed by an MLP or by experts."""
    hidden, layers = config.whole("hidden_size"), config.whole("num_hidden_layers")
    kinds = layer_kinds(config, layers)
    full = [layer for layer, kind in enumerate(kinds) if kind == FULL]
    linear = [layer for layer, kind in enumerate(kinds) if kind == LINEAR]
    mixture = _mixture(config, layers)
    mtp = _mtp_layers(config)
    return ModelFacts(
        name=config.name,
        architecture=config.architecture,
        family="hybrid_moe" if mixture else "hybrid",
        hidden_size=hidden,
        layers=layers,
        vocab_size=config.whole("vocab_size"),
        tied_embeddings=config.flag("tie_word_embeddings", False),
        max_context_tokens=config.whole("max_position_embeddings"),
        weights_dtype=config.quantization.dtype,
        linears=_gdn(config.stack(linear), config)
        + gqa(config.stack(full), config, gated=_gated(config))
        + _feed_forward(config, range(layers)),
        attention=(gqa_cache(config, len(full)),),
        linear_attention=_state(config, len(linear)),
        experts=mixture,
        mtp_layers=mtp,
        mtp_linears=_mtp(config, mtp),
        mtp_attention=gqa_cache(config, mtp) if mtp else None,
        state_dtype=_state_dtype(config),
        extra_parameters=_extra(config, len(full), len(linear)),
        vision_parameters=qwen_vision_parameters(config.raw.get("vision_config")),
        path=config.path,
    )


def layer_kinds(config: Config, layers: int) -> tuple[str, ...]:
    """`layer_types`, or every `full_attention_interval`-th layer with full attention."""
    kinds = config.layer_kinds(layers)
    if kinds is None:
        interval = config.whole("full_attention_interval")
        return tuple(FULL if (layer + 1) % interval == 0 else LINEAR for layer in range(layers))
    unknown = sorted(set(kinds) - {LINEAR, FULL})
    if unknown:
        raise InputError(
            f"{config.where}: layer_types has {', '.join(unknown)}, expected {LINEAR} or {FULL}",
            hint="Other kinds of layers cannot be counted yet.",
        )
    return kinds


def _gated(config: Config) -> bool:
    """Qwen3-Next has the output gate without a field that says so."""
    return config.flag("attn_output_gate", True)


def _gdn(stack: Stack, config: Config) -> tuple[Linear, ...]:
    """Gated delta net: q, k, v and z in one GEMM, b and a in a second, and the way out.

    vLLM runs b and a in 16 bit beside block-FP8 weights: they are too narrow for a block
    (vllm-project/vllm pull request 25079).
    """
    hidden, gdn = config.whole("hidden_size"), _state(config, len(stack.layers))
    keys, values = gdn.key_heads * gdn.key_head_dim, gdn.value_heads * gdn.value_head_dim
    inside = "linear_attn.in_proj_"
    narrow = config.quantization.dtype == "fp8_block"
    qkvz = (f"{inside}qkv", f"{inside}z", f"{inside}qkvz")
    gates = (f"{inside}b", f"{inside}a", f"{inside}ba")
    return (
        stack.linear("gdn.in", hidden, 2 * keys + 2 * values, qkvz)
        + stack.linear("gdn.ba", hidden, 2 * gdn.value_heads, gates, plain=narrow)
        + stack.linear("gdn.out", values, hidden, ("linear_attn.out_proj",))
    )


def _state(config: Config, layers: int) -> LinearAttention:
    return LinearAttention(
        layers=layers,
        key_heads=config.whole("linear_num_key_heads"),
        value_heads=config.whole("linear_num_value_heads"),
        key_head_dim=config.whole("linear_key_head_dim"),
        value_head_dim=config.whole("linear_value_head_dim"),
        conv_kernel=config.whole("linear_conv_kernel_dim"),
    )


def _state_dtype(config: Config) -> StateDtype:
    """What vLLM keeps the state in when not told: `mamba_ssm_dtype`, else the model's dtype."""
    return "float32" if config.text.get("mamba_ssm_dtype") == "float32" else "bfloat16"


def _mixture(config: Config, layers: int) -> Experts | None:
    if not config.text.get("num_experts"):
        return None
    sparse = sparse_layers(config, layers)
    return Experts(len(sparse), config.whole("num_experts"), config.whole("num_experts_per_tok"))


def _feed_forward(
    config: Config, layers: Sequence[int], prefix: str = "layers"
) -> tuple[Linear, ...]:
    """The MLPs of dense layers and the experts of sparse ones; MTP layers are always sparse."""
    hidden = config.whole("hidden_size")
    if not config.text.get("num_experts"):
        return mlp(config.stack(layers, prefix), hidden, config.whole("intermediate_size"))
    chosen = sparse_layers(config, len(layers)) if prefix == "layers" else list(layers)
    dense = [layer for layer in layers if layer not in chosen]
    linears = _experts(config.stack(chosen, prefix), config, hidden)
    if dense:
        linears += mlp(config.stack(dense, prefix), hidden, config.whole("intermediate_size"))
    return linears


def _experts(stack: Stack, config: Config, hidden: int) -> tuple[Linear, ...]:
    """Routed experts, and a shared one with a gate of a single output."""
    width, total = config.whole("moe_intermediate_size"), config.whole("num_experts")
    shared = config.whole("shared_expert_intermediate_size")
    return (
        experts(stack, hidden, width, total, config.whole("num_experts_per_tok"))
        + mlp(stack, hidden, shared, "shared_expert")
        + stack.linear("shared_expert.gate", hidden, 1, ("mlp.shared_expert_gate",), plain=True)
    )


def _mtp_layers(config: Config) -> int:
    """Stated by Qwen3.5. Qwen3-Next ships one that its config does not mention; vLLM uses it."""
    if config.architecture == "Qwen3NextForCausalLM":
        return config.whole_or("num_nextn_predict_layers", 1)
    return config.whole_or_none("mtp_num_hidden_layers")


def _mtp(config: Config, layers: int) -> tuple[Linear, ...]:
    """A projection of (hidden state, next embedding), then full-attention layers."""
    if not layers:
        return ()
    hidden, stack = config.whole("hidden_size"), config.stack(range(layers), "mtp.layers")
    quantized = config.quantization.covers("mtp.fc")
    project = Linear("mtp.project", 2 * hidden, hidden, 1, 1, quantized)
    attention = gqa(stack, config, gated=_gated(config))
    return (project, *attention, *_feed_forward(config, range(layers), "mtp.layers"))


def _extra(config: Config, full: int, linear: int) -> int:
    """Norms, the convolution's kernel, and the decay and its bias per value head."""
    hidden, gdn = config.whole("hidden_size"), _state(config, linear)
    channels = 2 * gdn.key_heads * gdn.key_head_dim + gdn.value_heads * gdn.value_head_dim
    per_linear = channels * gdn.conv_kernel + 2 * gdn.value_heads + gdn.value_head_dim
    norms = (2 * (full + linear) + 1) * hidden
    return norms + linear * per_linear + full * 2 * config.head_dim


GDN = (
    "num_key_value_heads",
    "head_dim",
    "linear_conv_kernel_dim",
    "linear_key_head_dim",
    "linear_num_key_heads",
    "linear_num_value_heads",
    "linear_value_head_dim",
)
FAMILIES = (
    Family(
        architectures=("Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM"),
        required=(*GDN, "intermediate_size"),
        build=build,
    ),
    Family(
        architectures=(
            "Qwen3_5MoeForConditionalGeneration",
            "Qwen3_5MoeForCausalLM",
            "Qwen3NextForCausalLM",
        ),
        required=(
            *GDN,
            "num_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
            "shared_expert_intermediate_size",
        ),
        build=build,
    ),
)
