"""Shapes, caches and states of each family, against figures worked out by hand."""

import pytest

from headrace.models.facts import Linear, ModelFacts
from headrace.models.load import load_model


def shapes(linears: tuple[Linear, ...]) -> dict[str, tuple[int, int, int, int]]:
    return {x.name: (x.k, x.n, x.count, x.stored) for x in linears}


def plain(facts: ModelFacts) -> set[str]:
    return {x.name for x in facts.linears if not x.quantized}


def test_hybrid_dense_matches_the_headline_facts(qwen27b: ModelFacts) -> None:
    """Qwen3.5-27B: 16 attention and 48 GDN layers, 4 KV heads of 256, 48 value heads of 128."""
    assert qwen27b.family == "hybrid"
    assert qwen27b.kv_bytes_per_token("fp8") == 32 * 1024
    assert qwen27b.kv_bytes_per_token("bf16") == 64 * 1024
    gdn = qwen27b.linear_attention
    assert gdn is not None
    assert gdn.layers * gdn.state_values_per_layer * 4 == 48 * 48 * 128 * 128 * 4  # 151 MB
    assert 2 * gdn.layers * gdn.conv_values_per_layer == pytest.approx(3e6, rel=0.03)
    assert qwen27b.state_bytes_per_sequence("float32") == pytest.approx(154e6, rel=0.01)
    assert qwen27b.state_bytes_per_sequence("bfloat16") == pytest.approx(78e6, rel=0.01)
    assert qwen27b.state_dtype == "float32"


def test_hybrid_dense_flops_with_the_lm_head(qwen27b: ModelFacts) -> None:
    """The published 51 GFLOP per token count the LM head, which `linears` leaves out."""
    head = 2 * qwen27b.vocab_size * qwen27b.hidden_size
    assert (qwen27b.linear_flops_per_token + head) / 1e9 == pytest.approx(51.2, rel=0.01)


def test_hybrid_dense_gemm_shapes(qwen27b: ModelFacts) -> None:
    assert shapes(qwen27b.linears) == {
        "gdn.in": (5120, 2 * 2048 + 2 * 6144, 48, 48),
        "gdn.ba": (5120, 96, 48, 48),
        "gdn.out": (6144, 5120, 48, 48),
        "attn.qkv": (5120, 2 * 24 * 256 + 2 * 4 * 256, 16, 16),
        "attn.o": (6144, 5120, 16, 16),
        "mlp.gate_up": (5120, 2 * 17408, 64, 64),
        "mlp.down": (17408, 5120, 64, 64),
    }
    assert plain(qwen27b) == {"gdn.ba"}


def test_hybrid_mtp_is_apart(qwen27b: ModelFacts) -> None:
    assert qwen27b.mtp_layers == 1
    assert shapes(qwen27b.mtp_linears)["mtp.project"] == (10240, 5120, 1, 1)
    assert shapes(qwen27b.mtp_linears)["mlp.gate_up"] == (5120, 34816, 1, 1)
    assert qwen27b.mtp_attention is not None
    assert qwen27b.mtp_attention.layers == 1


def test_rowwise_checkpoint_keeps_its_mtp_layer_in_16_bit() -> None:
    facts = load_model("headrace/Qwen3.5-27B-FP8-rowwise")
    assert facts.weights_dtype == "fp8_channel"
    assert plain(facts) == {"gdn.ba"}
    assert not any(x.quantized for x in facts.mtp_linears)


def test_hybrid_moe() -> None:
    facts = load_model("Qwen/Qwen3.5-35B-A3B-FP8")
    assert facts.family == "hybrid_moe"
    assert facts.weights_dtype == "fp8_block"
    by_name = shapes(facts.linears)
    assert by_name["expert.gate_up"] == (2048, 1024, 40 * 8, 40 * 256)
    assert by_name["expert.down"] == (512, 2048, 40 * 8, 40 * 256)
    assert by_name["shared_expert.gate_up"] == (2048, 1024, 40, 40)
    assert plain(facts) == {"gdn.ba", "router", "shared_expert.gate"}


def test_nvfp4_hybrid_moe_quantizes_the_routed_experts_only() -> None:
    facts = load_model("nvidia/Qwen3.5-397B-A17B-NVFP4")
    assert facts.weights_dtype == "nvfp4"
    assert {x.name for x in facts.linears if x.quantized} == {"expert.gate_up", "expert.down"}


def test_qwen3_next_has_an_mtp_layer_and_keeps_its_state_in_the_models_dtype() -> None:
    facts = load_model("Qwen/Qwen3-Next-80B-A3B-Instruct")
    assert facts.mtp_layers == 1
    assert facts.state_dtype == "bfloat16"
    assert facts.attention[0].layers == 12


def test_dense_gqa() -> None:
    facts = load_model("meta-llama/Llama-3.3-70B-Instruct")
    assert shapes(facts.linears) == {
        "attn.qkv": (8192, 8192 + 2 * 1024, 80, 80),
        "attn.o": (8192, 8192, 80, 80),
        "mlp.gate_up": (8192, 57344, 80, 80),
        "mlp.down": (28672, 8192, 80, 80),
    }
    assert facts.kv_bytes_per_token("bf16") == 80 * 2 * 8 * 128 * 2
    assert facts.state_bytes_per_sequence("float32") == 0
    assert facts.weights_dtype == "bf16"


def test_head_dim_may_differ_from_hidden_size_over_heads() -> None:
    facts = load_model("Qwen/Qwen3-32B")
    assert facts.attention[0].head_dim == 128
    assert shapes(facts.linears)["attn.o"] == (64 * 128, 5120, 64, 64)
    assert facts.attention[0].window_tokens is None


def test_tied_embeddings_are_stored_once() -> None:
    facts = load_model("Qwen/Qwen3-4B")
    assert facts.tied_embeddings
    assert facts.embedding_parameters == 151_936 * 2560


def test_gpt_oss_alternates_windows_and_quantizes_experts_only() -> None:
    facts = load_model("openai/gpt-oss-120b")
    full, windowed = facts.attention
    assert (full.layers, full.window_tokens) == (18, None)
    assert (windowed.layers, windowed.window_tokens) == (18, 128)
    assert facts.weights_dtype == "mxfp4"
    assert plain(facts) == {"attn.qkv", "attn.o", "router"}


def test_deepseek_caches_one_latent_per_token() -> None:
    """512 latent values and 64 of the rotary key in each of 61 layers, in any dtype."""
    facts = load_model("deepseek-ai/DeepSeek-V3")
    assert facts.kv_bytes_per_token("bf16") == 61 * (512 + 64) * 2
    by_name = shapes(facts.linears)
    assert by_name["attn.qkv_a"] == (7168, 1536 + 576, 61, 61)
    assert by_name["mlp.gate_up"] == (7168, 2 * 18432, 3, 3)
    assert by_name["expert.gate_up"] == (7168, 4096, 58 * 8, 58 * 256)
    assert facts.mtp_attention is not None
    assert facts.experts is not None
    assert (facts.experts.layers, facts.experts.active, facts.experts.total) == (58, 8, 256)


def test_mixtral() -> None:
    facts = load_model("mistralai/Mixtral-8x7B-v0.1")
    assert shapes(facts.linears)["expert.gate_up"] == (4096, 28672, 64, 256)
    assert plain(facts) == {"router"}
