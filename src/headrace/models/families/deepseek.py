"""DeepSeek-V3 and R1: latent attention (MLA), a few dense layers, then many small experts."""

from __future__ import annotations

from headrace.models.blocks import experts, mlp
from headrace.models.config import Config, Stack
from headrace.models.facts import Attention, Experts, Linear, ModelFacts
from headrace.models.families.registry import Family


def build(config: Config) -> ModelFacts:
    """MLA caches one latent vector and one rotary key per token, whatever the number of heads."""
    hidden, layers = config.whole("hidden_size"), config.whole("num_hidden_layers")
    dense = min(config.whole_or_none("first_k_dense_replace"), layers)
    total, active = config.whole("n_routed_experts"), config.whole("num_experts_per_tok")
    every = config.stack(range(layers))
    mtp = config.whole_or_none("num_nextn_predict_layers")
    drafts = config.stack(range(layers, layers + mtp))
    norms = 2 * hidden + config.whole("q_lora_rank") + config.whole("kv_lora_rank")
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
        linears=_mla(every, config)
        + mlp(config.stack(range(dense)), hidden, config.whole("intermediate_size"))
        + _mixture(config.stack(range(dense, layers)), config),
        attention=(_cache(config, layers),),
        experts=Experts(layers - dense, total, active),
        mtp_layers=mtp,
        mtp_linears=_mtp(drafts, config) if mtp else (),
        mtp_attention=_cache(config, mtp) if mtp else None,
        extra_parameters=hidden + layers * norms + (layers - dense) * total,
        path=config.path,
    )


def _mla(stack: Stack, config: Config) -> tuple[Linear, ...]:
    """Down to two latents in one GEMM, up to the heads, and back to the hidden size."""
    hidden, heads = config.whole("hidden_size"), config.heads
    q_rank, kv_rank = config.whole("q_lora_rank"), config.whole("kv_lora_rank")
    nope, rope = config.whole("qk_nope_head_dim"), config.whole("qk_rope_head_dim")
    value = config.whole("v_head_dim")
    down = ("self_attn.q_a_proj", "self_attn.kv_a_proj_with_mqa")
    return (
        stack.linear("attn.qkv_a", hidden, q_rank + kv_rank + rope, down)
        + stack.linear("attn.q_b", q_rank, heads * (nope + rope), ("self_attn.q_b_proj",))
        + stack.linear("attn.kv_b", kv_rank, heads * (nope + value), ("self_attn.kv_b_proj",))
        + stack.linear("attn.o", heads * value, hidden, ("self_attn.o_proj",))
    )


def _mixture(stack: Stack, config: Config) -> tuple[Linear, ...]:
    """Routed experts and the shared ones, which the checkpoint stores as one wider MLP."""
    hidden, width = config.whole("hidden_size"), config.whole("moe_intermediate_size")
    total, active = config.whole("n_routed_experts"), config.whole("num_experts_per_tok")
    shared = config.whole_or("n_shared_experts", 1) * width
    gate_up = ("mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj")
    return (
        experts(stack, hidden, width, total, active)
        + stack.linear("shared_expert.gate_up", hidden, 2 * shared, gate_up)
        + stack.linear("shared_expert.down", shared, hidden, ("mlp.shared_experts.down_proj",))
    )


def _mtp(stack: Stack, config: Config) -> tuple[Linear, ...]:
    """A projection of (hidden state, next embedding), then one full layer with experts."""
    hidden = config.whole("hidden_size")
    joined = stack.linear("mtp.project", 2 * hidden, hidden, ("eh_proj",), plain=True)
    return joined + _mla(stack, config) + _mixture(stack, config)


def _cache(config: Config, layers: int) -> Attention:
    nope, rope = config.whole("qk_nope_head_dim"), config.whole("qk_rope_head_dim")
    return Attention(
        layers=layers,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_dim=nope + rope,
        value_head_dim=config.whole("v_head_dim"),
        latent_dim=config.whole("kv_lora_rank") + rope,
    )


FAMILIES = (
    Family(
        architectures=("DeepseekV3ForCausalLM",),
        required=(
            "intermediate_size",
            "moe_intermediate_size",
            "n_routed_experts",
            "num_experts_per_tok",
            "first_k_dense_replace",
            "q_lora_rank",
            "kv_lora_rank",
            "qk_nope_head_dim",
            "qk_rope_head_dim",
            "v_head_dim",
        ),
        build=build,
    ),
)
