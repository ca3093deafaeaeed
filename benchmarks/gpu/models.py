"""Write the folders of the models that are measured with random weights: a config, nothing else.

    python benchmarks/gpu/models.py FOLDER      # FOLDER/qwen35-27b-fp8 and others

Sizes come from the packaged configs; added is what vLLM reads beside them. There is no tokenizer:
vLLM runs with `skip_tokenizer_init`, prompts are token ids.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from headrace.models.load import CATALOG

MODELS = {
    "qwen35-27b-fp8": "Qwen__Qwen3.5-27B-FP8",
    "qwen35-27b-fp8-rowwise": "headrace__Qwen3.5-27B-FP8-rowwise",
    "qwen35-27b-fp8-tensor": "headrace__Qwen3.5-27B-FP8-tensor",
    "qwen3-32b-fp8": "Qwen__Qwen3-32B-FP8",
    "qwen3-30b-a3b-fp8": "Qwen__Qwen3-30B-A3B-FP8",
}
"""Folder, and the packaged config that gives the sizes."""
TOKENS = {
    "image_token_id": 248056,
    "video_token_id": 248057,
    "vision_start_token_id": 248053,
    "vision_end_token_id": 248054,
}
TEXT: dict[str, Any] = {
    "attention_dropout": 0.0,
    "eos_token_id": 248044,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "mtp_use_dedicated_embeddings": False,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {
        "mrope_interleaved": True,
        "mrope_section": [11, 11, 10],
        "rope_type": "default",
        "rope_theta": 10_000_000,
        "partial_rotary_factor": 0.25,
    },
    "use_cache": True,
}
PLAIN: dict[str, Any] = {
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "norm_topk_prob": True,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000,
    "use_cache": True,
}
"""Of a model without vision or states."""
NOT_IN_BLOCKS = {
    "num_hidden_layers": (
        "model.language_model.layers.{}.linear_attn.in_proj_a",
        "model.language_model.layers.{}.linear_attn.in_proj_b",
    ),
    "depth": (
        "model.visual.blocks.{}.attn.qkv",
        "model.visual.blocks.{}.attn.proj",
        "model.visual.blocks.{}.mlp.linear_fc1",
        "model.visual.blocks.{}.mlp.linear_fc2",
    ),
}
"""What Qwen3.5 in blocks of 128 keeps in 16 bit, by what counts it: vLLM fuses a and b, of which
neither fills a block, and cannot load their scales then; the vision tower's sizes are no multiples.
"""
MERGER = ["model.visual.merger.linear_fc1", "model.visual.merger.linear_fc2"]
VISION = {"hidden_act": "gelu_pytorch_tanh", "initializer_range": 0.02}
PREPROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "processor_class": "Qwen3VLProcessor",
    "size": {"longest_edge": 16_777_216, "shortest_edge": 65_536},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
"""vLLM reads it even when it serves text only."""


def config(packaged: str) -> dict[str, Any]:
    """The packaged sizes with what vLLM needs beside them."""
    made: dict[str, Any] = json.loads((CATALOG / f"{packaged}.json").read_text(encoding="utf-8"))
    made.pop("_source", None)
    if "text_config" not in made:
        return {**_by_layer(made), **PLAIN}
    text = {**made["text_config"], **TEXT}
    every = text["full_attention_interval"]
    text["layer_types"] = [
        "linear_attention" if (layer + 1) % every else "full_attention"
        for layer in range(text["num_hidden_layers"])
    ]
    vision = {**made["vision_config"], **VISION}
    quantization = made["quantization_config"]
    if quantization["quant_method"] == "compressed-tensors":
        ignore = [*quantization["ignore"], "re:.*visual.*"]
        quantization |= {"ignore": ignore, "quantization_status": "compressed"}
    else:
        kept = [*quantization["modules_to_not_convert"], *_not_in_blocks({**text, **vision})]
        quantization |= {"modules_to_not_convert": kept}
    return {**made, **TOKENS, "text_config": text, "vision_config": vision}


def _not_in_blocks(sizes: dict[str, Any]) -> list[str]:
    """vLLM wants full names; a name that a layer does not have does no harm."""
    return MERGER + [
        name.format(number)
        for count, names in NOT_IN_BLOCKS.items()
        for number in range(sizes[count])
        for name in names
    ]


def _by_layer(made: dict[str, Any]) -> dict[str, Any]:
    """vLLM wants the modules that stay in 16 bit by their full names."""
    quantization = made["quantization_config"]
    kept = [
        name.replace("*", str(layer))
        for name in quantization.get("modules_to_not_convert", [])
        for layer in (range(made["num_hidden_layers"]) if "*" in name else [0])
    ]
    return {**made, "quantization_config": {**quantization, "modules_to_not_convert": kept}}


def main() -> None:
    """Write every folder anew."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    for name, packaged in MODELS.items():
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        made = config(packaged)
        for file, document in (
            ("config.json", made),
            ("preprocessor_config.json", PREPROCESSOR),
        ):
            (folder / file).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        print(folder)


if __name__ == "__main__":
    main()
