"""The parts that transformer layers are made of, as lists of matrices.

Shapes are those of vLLM's fused GEMMs: q, k and v in one, gate and up in one.
"""

from __future__ import annotations

from headrace.models.config import Config, Stack
from headrace.models.facts import Attention, Linear

QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def gqa(stack: Stack, config: Config, gated: bool = False) -> tuple[Linear, ...]:
    """Grouped-query attention. `gated`: q_proj also makes a gate of the output's size."""
    hidden, dim = config.whole("hidden_size"), config.head_dim
    queries = config.heads * (2 if gated else 1)
    qkv = (queries + 2 * config.kv_heads) * dim
    return stack.linear("attn.qkv", hidden, qkv, QKV) + stack.linear(
        "attn.o", config.heads * dim, hidden, ("self_attn.o_proj",)
    )


def gqa_cache(config: Config, layers: int, window_tokens: int | None = None) -> Attention:
    """What `layers` grouped-query attention layers keep per token."""
    return Attention(
        layers=layers,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_dim=config.head_dim,
        value_head_dim=config.head_dim,
        window_tokens=window_tokens,
    )


def mlp(stack: Stack, hidden: int, width: int, name: str = "mlp") -> tuple[Linear, ...]:
    """A gated MLP; `name` says which (`mlp`, `shared_expert`). Module names follow Qwen's."""
    inside = "mlp" if name == "mlp" else f"mlp.{name}"
    gate_up = (f"{inside}.gate_proj", f"{inside}.up_proj")
    return stack.linear(f"{name}.gate_up", hidden, 2 * width, gate_up) + stack.linear(
        f"{name}.down", width, hidden, (f"{inside}.down_proj",)
    )


def experts(
    stack: Stack, hidden: int, width: int, total: int, active: int, inside: str = "mlp"
) -> tuple[Linear, ...]:
    """A router (16 bit in every engine) and `total` gated MLPs, of which a token uses `active`."""
    names = (f"{inside}.experts.0.gate_proj", f"{inside}.experts.0.up_proj")
    down = (f"{inside}.experts.0.down_proj",)
    return (
        stack.linear("router", hidden, total, (f"{inside}.gate",), plain=True)
        + stack.linear("expert.gate_up", hidden, 2 * width, names, active, total)
        + stack.linear("expert.down", width, hidden, down, active, total)
    )


def sparse_layers(config: Config, layers: int) -> list[int]:
    """The layers with experts: every `decoder_sparse_step`-th, but for `mlp_only_layers`."""
    step = config.whole_or("decoder_sparse_step", 1)
    dense = set(config.text.get("mlp_only_layers") or ())
    return [layer for layer in range(layers) if layer not in dense and (layer + 1) % step == 0]
