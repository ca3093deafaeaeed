from typing import Any

import pytest

from headrace.errors import InputError
from headrace.models.load import facts_from
from headrace.models.quantization import matcher, read_quantization


def group(**weights: Any) -> dict[str, Any]:
    return {"targets": ["Linear"], "weights": weights}


def compressed(*groups: dict[str, Any]) -> dict[str, Any]:
    named = {f"group_{i}": g for i, g in enumerate(groups)}
    return {"quant_method": "compressed-tensors", "config_groups": named}


FLOAT8 = {"num_bits": 8, "type": "float"}


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block"),
        ({"quant_method": "fp8"}, "fp8_tensor"),
        (compressed(group(**FLOAT8, strategy="channel")), "fp8_channel"),
        (compressed(group(**FLOAT8, strategy="tensor")), "fp8_tensor"),
        (compressed(group(num_bits=4, type="float", group_size=16)), "nvfp4"),
        (compressed(group(num_bits=4, type="float", group_size=32)), "mxfp4"),
        (compressed(group(num_bits=4, type="int", strategy="group")), "int4"),
        (compressed(group(num_bits=8, type="int", strategy="channel")), "int8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_algo": "FP8"}, "fp8_tensor"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "awq", "bits": 4}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({}, "bf16"),
    ],
)
def test_weights_dtype(settings: dict[str, Any], dtype: str) -> None:
    assert read_quantization(settings, "bfloat16", "config.json").dtype == dtype


@pytest.mark.parametrize(
    ("dtype", "expected"), [("float16", "fp16"), ("torch.bfloat16", "bf16"), ("float32", "bf16")]
)
def test_unquantized_dtype(dtype: str, expected: str) -> None:
    assert read_quantization({}, dtype, "config.json").dtype == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "bitsandbytes"},
        {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"},
        {"quant_method": "gptq", "bits": 3},
        compressed(group(**FLOAT8, strategy="channel"), group(num_bits=4, type="int")),
        compressed(group(num_bits=6, type="float")),
    ],
)
def test_formats_without_figures_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"config\.json: quantization_config has"):
        read_quantization(settings, "bfloat16", "config.json")


def test_unknown_plain_dtype_is_refused() -> None:
    with pytest.raises(InputError, match="float8"):
        read_quantization({}, "float8", "config.json")


@pytest.mark.parametrize(
    ("pattern", "module", "matches"),
    [
        ("model.layers.0.mlp.gate", "layers.0.mlp.gate", True),
        ("model.layers.0.mlp.gate", "layers.0.mlp.gate_proj", False),
        ("model.layers.0.mlp", "layers.0.mlp.gate_proj", True),
        ("model.language_model.layers.*.linear_attn*", "layers.7.linear_attn.out_proj", True),
        ("model.layers.*.self_attn", "layers.3.self_attn.q_proj", True),
        ("*.mlp.shared_expert.*", "layers.3.mlp.shared_expert.up_proj", True),
        ("*.mlp.shared_expert.*", "layers.3.mlp.shared_expert_gate", False),
        ("re:.*in_proj_a.*", "layers.3.linear_attn.in_proj_a", True),
        ("re:.*mtp.*", "layers.3.mlp.up_proj", False),
        ("linear_attn.in_proj_a", "layers.3.linear_attn.in_proj_a", True),
        ("mtp*", "mtp.layers.0.self_attn.o_proj", True),
        ("lm_head", "layers.0.mlp.up_proj", False),
    ],
)
def test_patterns(pattern: str, module: str, matches: bool) -> None:
    assert matcher([pattern])(module) is matches


def test_layers_left_in_16_bit_are_split_off(small: dict[str, Any]) -> None:
    ignore = ["model.layers.0.mlp.down_proj", "lm_head"]
    small["quantization_config"] = {"quant_method": "fp8", "ignored_layers": ignore}
    down = [x for x in facts_from(small, "m").linears if x.name == "mlp.down"]
    assert [(x.count, x.quantized) for x in down] == [(1, True), (1, False)]


def test_a_fused_matrix_follows_its_unquantized_part(small: dict[str, Any]) -> None:
    small["quantization_config"] = {"quant_method": "fp8", "ignore": ["re:.*k_proj"]}
    qkv = [x for x in facts_from(small, "m").linears if x.name == "attn.qkv"]
    assert [x.quantized for x in qkv] == [False]


def test_targets_restrict_what_is_quantized(small: dict[str, Any]) -> None:
    only_mlp = {"targets": ["re:.*mlp.*"], "weights": {**FLOAT8, "strategy": "channel"}}
    small["quantization_config"] = compressed(only_mlp)
    quantized = {x.name: x.quantized for x in facts_from(small, "m").linears}
    assert quantized == {
        "attn.qkv": False,
        "attn.o": False,
        "mlp.gate_up": True,
        "mlp.down": True,
    }
