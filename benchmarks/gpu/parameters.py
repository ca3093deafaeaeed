"""Which tensors a checkpoint holds: names, shapes and number formats as stock vLLM loads them.

transformers knows the architectures: a model on its meta device has every name and shape and takes
no memory. It lacks what only checkpoints have: scales of FP8 matrices, experts each by itself, MTP
layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headrace.models.quantization import Quantization, read_quantization

BYTES = {"BF16": 2, "F8_E4M3": 1, "F32": 4}
"""Of one value, by the format's name in safetensors."""
FP8 = ("fp8_block", "fp8_channel", "fp8_tensor")


@dataclass(frozen=True)
class Parameter:
    """One parameter of the model in 16 bit; `kind` is the class of the module that has it."""

    name: str
    shape: tuple[int, ...]
    kind: str

    @property
    def module(self) -> str:
        """The name of the module that has it."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Stored:
    """One tensor of a checkpoint."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """What its values take."""
        return math.prod(self.shape) * BYTES[self.dtype]


@dataclass(frozen=True)
class Format:
    """How a checkpoint stores its matrices. `block` is outputs by inputs that share a scale."""

    quantization: Quantization
    block: tuple[int, int] = (128, 128)
    static_inputs: bool = False
    block_scale: str = "weight_scale_inv"

    def covers(self, parameter: Parameter) -> bool:
        """Whether it is in FP8. vLLM never quantizes the LM head, whatever a config says."""
        return (
            self.quantization.dtype in FP8
            and parameter.kind == "Linear"
            and len(parameter.shape) == 2
            and parameter.module != "lm_head"
            and self.quantization.covers(parameter.module)
        )

    def stored(self, parameter: Parameter) -> list[Stored]:
        """The tensors of one parameter: itself, or its codes and their scales."""
        if not self.covers(parameter):
            return [Stored(parameter.name, parameter.shape, "BF16")]
        made = [Stored(parameter.name, parameter.shape, "F8_E4M3")]
        made.append(Stored(self.scale_name(parameter), self._scales(parameter.shape), "F32"))
        if self.static_inputs:
            made.append(Stored(f"{parameter.module}.input_scale", (1,), "F32"))
        return made

    def scale_name(self, parameter: Parameter) -> str:
        """What the scales of a matrix are called."""
        by_block = self.quantization.dtype == "fp8_block"
        return f"{parameter.module}.{self.block_scale if by_block else 'weight_scale'}"

    def _scales(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.quantization.dtype == "fp8_block":
            return tuple(-(-size // each) for size, each in zip(shape, self.block, strict=True))
        return (shape[0], 1) if self.quantization.dtype == "fp8_channel" else (1,)


def read_format(config: dict[str, Any], where: str) -> Format:
    """The format of a config.json. Raises ValueError for one that is not written here."""
    settings = config.get("quantization_config") or {}
    quantization = read_quantization(settings, "bfloat16", where)
    if quantization.dtype not in ("bf16", *FP8):
        raise ValueError(f"{where}: weights in {quantization.dtype} are not made here")
    groups = settings.get("config_groups")
    if not groups:
        block = settings.get("weight_block_size") or (128, 128)
        static = settings.get("activation_scheme") == "static"
        return Format(quantization, (block[0], block[1]), static)
    group = next(iter(groups.values()))
    block = group["weights"].get("block_structure") or (128, 128)
    static = not (group.get("input_activations") or {}).get("dynamic", True)
    return Format(quantization, (block[0], block[1]), static, "weight_scale")


def parameters(folder: Path) -> list[Parameter]:
    """All parameters of the model whose config.json is in `folder`, its MTP layers included."""
    import torch
    from transformers import (  # type: ignore[import-not-found]
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
    )

    config = AutoConfig.from_pretrained(folder)
    sees = hasattr(config, "vision_config")
    maker = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    with torch.device("meta"):
        model = maker.from_config(config, dtype=torch.bfloat16)
    found = [
        Parameter(name, tuple(value.shape), type(model.get_submodule(_module(name))).__name__)
        for name, value in model.named_parameters()
    ]
    text = config.get_text_config().to_dict()
    return [*_by_expert(found), *mtp(found, text)]


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _by_expert(found: Sequence[Parameter]) -> Iterator[Parameter]:
    for parameter in found:
        if parameter.module.endswith(".experts") and len(parameter.shape) == 3:
            yield from split_experts(parameter)
        else:
            yield parameter


def split_experts(parameter: Parameter) -> Iterator[Parameter]:
    """transformers has a layer's experts in one tensor [experts, outputs, inputs]; files do not."""
    experts, outputs, inputs = parameter.shape
    which = parameter.name.rpartition(".")[2]
    names = ["gate_proj", "up_proj"] if which == "gate_up_proj" else [which]
    shape = (outputs // len(names), inputs)
    for expert in range(experts):
        for name in names:
            yield Parameter(f"{parameter.module}.{expert}.{name}.weight", shape, "Linear")


def mtp(found: Sequence[Parameter], text: dict[str, Any]) -> list[Parameter]:
    """Qwen3.5's layers for drafting: each is a full attention layer, behind one matrix and norms.

    transformers leaves them out. Names as in `vllm/model_executor/models/qwen3_5_mtp.py`.
    """
    layers = text.get("mtp_num_hidden_layers") or 0
    if not layers:
        return []
    like = f"model.language_model.layers.{text['layer_types'].index('full_attention')}."
    norm = next(p for p in found if p.name == "model.language_model.norm.weight")
    (hidden,) = norm.shape
    made = [Parameter("mtp.fc.weight", (hidden, 2 * hidden), "Linear")]
    for layer in range(layers):
        inside = (p for p in found if p.name.startswith(like))
        made += [replace(p, name=f"mtp.layers.{layer}.{p.name[len(like) :]}") for p in inside]
    names = ("norm", "pre_fc_norm_hidden", "pre_fc_norm_embedding")
    return made + [replace(norm, name=f"mtp.{name}.weight") for name in names]
