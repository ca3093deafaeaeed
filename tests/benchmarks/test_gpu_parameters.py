"""benchmarks/gpu/parameters.py: what a checkpoint stores of each parameter, by number format."""

from types import ModuleType
from typing import Any

import pytest

from tests.scripts import load_script

BLOCK = {
    "quant_method": "fp8",
    "activation_scheme": "dynamic",
    "weight_block_size": [128, 128],
    "modules_to_not_convert": ["model.language_model.layers.0.linear_attn.in_proj_a"],
}
UP = "model.language_model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def parameters() -> ModuleType:
    return load_script("benchmarks/gpu/parameters.py")


def compressed(strategy: str, dynamic: bool) -> dict[str, Any]:
    scale = {"num_bits": 8, "type": "float", "strategy": strategy, "dynamic": False}
    group = {"targets": ["Linear"], "weights": scale, "input_activations": {"dynamic": dynamic}}
    return {
        "quant_method": "compressed-tensors",
        "ignore": ["lm_head", "re:.*mtp.*"],
        "config_groups": {"group_0": group},
    }


def stored(parameters: ModuleType, settings: dict[str, Any], name: str, shape: tuple[int, ...]):
    form = parameters.read_format({"quantization_config": settings}, "config.json")
    found = form.stored(parameters.Parameter(name, shape, "Linear"))
    return {t.name.removeprefix(name.removesuffix("weight")): (t.shape, t.dtype) for t in found}


@pytest.mark.parametrize(
    ("settings", "scales"),
    [
        (BLOCK, {"weight_scale_inv": ((3, 4), "F32")}),
        (compressed("channel", dynamic=True), {"weight_scale": ((300, 1), "F32")}),
        (
            compressed("tensor", dynamic=False),
            {"weight_scale": ((1,), "F32"), "input_scale": ((1,), "F32")},
        ),
    ],
)
def test_a_matrix_is_stored_as_codes_and_scales(parameters, settings, scales):
    found = stored(parameters, settings, f"{UP}.weight", (300, 512))
    assert found == {"weight": ((300, 512), "F8_E4M3"), **scales}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (BLOCK, "model.language_model.layers.0.linear_attn.in_proj_a.weight"),
        (BLOCK, "lm_head.weight"),
        (compressed("channel", dynamic=True), "mtp.layers.0.mlp.up_proj.weight"),
        ({}, f"{UP}.weight"),
    ],
)
def test_what_is_not_quantized_is_stored_as_it_is(parameters, settings, name):
    assert stored(parameters, settings, name, (48, 512)) == {"weight": ((48, 512), "BF16")}


def test_other_formats_are_refused(parameters):
    with pytest.raises(ValueError, match="weights in int4 are not made here"):
        parameters.read_format({"quantization_config": {"quant_method": "awq", "bits": 4}}, "c")


def test_experts_are_stored_each_by_itself(parameters):
    fused = parameters.Parameter("layers.0.mlp.experts.gate_up_proj", (2, 8, 16), "Experts")
    out = parameters.Parameter("layers.0.mlp.experts.down_proj", (2, 16, 4), "Experts")
    found = [*parameters.split_experts(fused), *parameters.split_experts(out)]
    assert {p.name.removeprefix("layers.0.mlp.experts."): p.shape for p in found} == {
        f"{expert}.{name}.weight": shape
        for expert in (0, 1)
        for name, shape in (("gate_proj", (4, 16)), ("up_proj", (4, 16)), ("down_proj", (16, 4)))
    }


def test_mtp_layers_are_full_attention_layers(parameters):
    inside = "model.language_model.layers"
    found = [
        parameters.Parameter(f"{inside}.0.linear_attn.out_proj.weight", (8, 8), "Linear"),
        parameters.Parameter(f"{inside}.1.self_attn.q_norm.weight", (4,), "Qwen3_5RMSNorm"),
        parameters.Parameter("model.language_model.norm.weight", (8,), "Qwen3_5RMSNorm"),
    ]
    text = {"layer_types": ["linear_attention", "full_attention"], "mtp_num_hidden_layers": 1}
    assert {p.name: p.shape for p in parameters.mtp(found, text)} == {
        "mtp.fc.weight": (8, 16),
        "mtp.layers.0.self_attn.q_norm.weight": (4,),
        "mtp.norm.weight": (8,),
        "mtp.pre_fc_norm_hidden.weight": (8,),
        "mtp.pre_fc_norm_embedding.weight": (8,),
    }
    assert parameters.mtp(found, {**text, "mtp_num_hidden_layers": 0}) == []
