"""Which number format a checkpoint's weights have, and which modules it keeps in 16 bit.

Read from the `quantization_config` of config.json in the spellings that vLLM loads: fp8 (Qwen,
DeepSeek), compressed-tensors (llm-compressor), modelopt (NVIDIA), mxfp4 (gpt-oss), AWQ and GPTQ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import Any

from headrace.errors import InputError
from headrace.models.facts import WeightsDtype

SKIP_KEYS = ("modules_to_not_convert", "ignore", "exclude_modules", "ignored_layers")
"""The names that the methods give to the list of modules left in 16 bit."""

PREFIXES = ("model.language_model.", "language_model.model.", "model.")
"""What checkpoints write before `layers.0`; wrappers of vision models add the first two."""

MODELOPT: dict[str, WeightsDtype] = {
    "FP8": "fp8_tensor",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8_channel",
    "FP8_PB_WO": "fp8_block",
    "NVFP4": "nvfp4",
}
FLOAT8: dict[str, WeightsDtype] = {
    "block": "fp8_block",
    "channel": "fp8_channel",
    "tensor": "fp8_tensor",
}
PLAIN: dict[str, WeightsDtype] = {"bfloat16": "bf16", "float16": "fp16", "float32": "bf16"}
"""vLLM runs a float32 checkpoint in 16 bit too."""


@dataclass(frozen=True)
class Quantization:
    """The format of the quantized matrices, and the patterns of those that are not."""

    dtype: WeightsDtype
    skipped: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("Linear",)

    def covers(self, module: str) -> bool:
        """Whether `module`, for example `layers.0.self_attn.q_proj`, is in `dtype`."""
        if self._skips(module):
            return False
        return "Linear" in self.targets or self._targeted(module)

    @cached_property
    def _skips(self) -> Callable[[str], bool]:
        return matcher(self.skipped)

    @cached_property
    def _targeted(self) -> Callable[[str], bool]:
        return matcher(self.targets)


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A test of module names against patterns: exact, `*` wildcards, or `re:` and a regex.

    A pattern also covers what lies inside the module that it names, but only at a dot:
    `mlp.gate` covers neither `mlp.gate_proj` nor the other way round.
    """
    exact: set[str] = set()
    regexes: list[re.Pattern[str]] = []
    for pattern in patterns:
        if pattern.startswith("re:"):
            regexes.append(_compile(pattern[3:]))
        elif "*" in pattern or "?" in pattern:
            regexes.append(re.compile(translate(pattern)))
        else:
            exact.add(_bare(pattern))

    def matches(module: str) -> bool:
        parts = module.split(".")
        inside = [".".join(parts[: end + 1]) for end in range(len(parts))]
        if any(name in exact for name in inside):
            return True
        if _suffix_in(parts, exact):
            return True
        spelled = [prefix + name for name in inside for prefix in ("", *PREFIXES)]
        return any(regex.match(name) for regex in regexes for name in spelled)

    return matches


def _compile(regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex)
    except re.error as error:
        raise InputError(
            f"quantization_config: {regex!r} is not a regular expression: {error}",
            hint="Correct the list of ignored modules in config.json.",
        ) from None


def _bare(pattern: str) -> str:
    for prefix in PREFIXES:
        if pattern.startswith(prefix):
            return pattern[len(prefix) :]
    return pattern


def _suffix_in(parts: list[str], exact: set[str]) -> bool:
    """`linear_attn.in_proj_a` without any `layers.N` means that module in every layer."""
    return any(
        ".".join(parts[start:end]) in exact
        for start in range(1, len(parts))
        for end in range(start + 1, len(parts) + 1)
    )


def read_quantization(settings: dict[str, Any], plain_dtype: str, where: str) -> Quantization:
    """The weights' format from a `quantization_config`, empty when the model is not quantized.

    Raises InputError for a method or a mixture that Headrace has no byte and FLOP count for.
    """
    if not settings:
        return Quantization(_plain(plain_dtype, where))
    skipped = _skipped(settings, where)
    method = str(settings.get("quant_method") or "").lower()
    if method.startswith("compressed"):
        return _compressed_tensors(settings, skipped, where)
    if method.startswith("modelopt") or (not method and "quant_algo" in settings):
        return Quantization(_modelopt(settings, where), skipped)
    return Quantization(_by_method(method, settings, where), skipped)


def _skipped(settings: dict[str, Any], where: str) -> tuple[str, ...]:
    for key in SKIP_KEYS:
        patterns = settings.get(key)
        if not patterns:
            continue
        if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
            raise InputError(
                f"{where}: quantization_config.{key}: expected a list of module names",
                hint="Compare the file with the one that the model's authors publish.",
            )
        return tuple(patterns)
    return ()


def _plain(dtype: str, where: str) -> WeightsDtype:
    name = dtype.removeprefix("torch.")
    if name not in PLAIN:
        raise InputError(
            f"{where}: dtype is {dtype!r}, expected one of {', '.join(PLAIN)}",
            hint="Correct `dtype` (or `torch_dtype`) in config.json.",
        )
    return PLAIN[name]


def _by_method(method: str, settings: dict[str, Any], where: str) -> WeightsDtype:
    if method == "fp8":
        return "fp8_block" if settings.get("weight_block_size") else "fp8_tensor"
    if method == "fbgemm_fp8":
        return "fp8_channel"
    if method == "mxfp4":
        return "mxfp4"
    if method in ("awq", "gptq", "auto-round", "awq_marlin", "gptq_marlin"):
        return _integer(settings.get("bits", 4), where)
    raise _unknown(f"quant_method {method!r}", where)


def _modelopt(settings: dict[str, Any], where: str) -> WeightsDtype:
    algorithm = str(settings.get("quant_algo"))
    if algorithm not in MODELOPT:
        raise _unknown(f"quant_algo {algorithm!r}", where)
    return MODELOPT[algorithm]


def _compressed_tensors(
    settings: dict[str, Any], skipped: tuple[str, ...], where: str
) -> Quantization:
    """All groups must have one format: bytes and FLOPs are counted once for the model."""
    named = settings.get("config_groups")
    groups = [g for g in named.values() if isinstance(g, dict)] if isinstance(named, dict) else []
    dtypes = {_scheme(group.get("weights") or {}, where) for group in groups}
    if len(dtypes) != 1:
        raise _unknown(f"config_groups with {len(dtypes)} weight formats", where)
    targets = tuple(target for group in groups for target in group.get("targets", ["Linear"]))
    return Quantization(dtypes.pop(), skipped, targets or ("Linear",))


def _scheme(weights: dict[str, Any], where: str) -> WeightsDtype:
    bits, kind = weights.get("num_bits"), weights.get("type")
    strategy = str(weights.get("strategy"))
    if bits == 8 and kind == "float" and strategy in FLOAT8:
        return FLOAT8[strategy]
    if bits == 4 and kind == "float":
        return "mxfp4" if weights.get("group_size") == 32 else "nvfp4"
    if kind == "int" and isinstance(bits, int):
        return _integer(bits, where)
    raise _unknown(f"weights of {bits} bits, type {kind!r}, strategy {strategy!r}", where)


def _integer(bits: object, where: str) -> WeightsDtype:
    if bits == 4:
        return "int4"
    if bits == 8:
        return "int8"
    raise _unknown(f"integer weights of {bits!r} bits", where)


def _unknown(what: str, where: str) -> InputError:
    return InputError(
        f"{where}: quantization_config has {what}, for which there is no size and speed figure",
        hint="Supported: fp8, compressed-tensors (one format), modelopt (FP8, NVFP4), mxfp4, "
        "awq, gptq. Plan with the unquantized checkpoint, or with one of these.",
    )
