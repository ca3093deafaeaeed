"""What a user's `engine.args` decide of a configuration: the inverse of `engine_args`. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from headrace.engines.vllm import flags
from headrace.errors import InputError

SUFFIXES = {
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "K": 2**10,
    "M": 2**20,
    "G": 2**30,
    "T": 2**40,
}
"""As vLLM reads them: 16k is 16,000 and 16K is 16,384."""
NUMBER = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT]?)")

GIVEN_BY_HEADRACE = {
    "host": "Headrace chooses the address",
    "port": "Headrace chooses a free port for every replica",
    "uds": "Headrace and its gateway reach replicas over TCP",
    "model": "the fleet file's `model` says it",
    "served_model_name": "clients ask for the fleet file's `model`",
    "config": "write its options into engine.args",
    "api_key": "a key in a command line can be read by every user; export VLLM_API_KEY instead",
    "hf_token": "a token in a command line can be read by every user; export HF_TOKEN instead",
}
ONE_GPU_GROUP = (
    "data_parallel_size",
    "pipeline_parallel_size",
    "prefill_context_parallel_size",
    "decode_context_parallel_size",
)
"""Ways to spread one server that the plan does not model: it makes replicas instead."""


def engine_config(args: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The fields of EngineConfig that `args` fix, and their values.

    Options that no field stands for are passed to vLLM as they are. Raises InputError for an
    option that this version has not, for a value that it cannot take, and for options that would
    make the prediction or the fleet wrong.
    """
    flags.check(dict(args), version)
    for name in args:
        if name in GIVEN_BY_HEADRACE:
            raise InputError(f"engine.args.{name}: cannot be set here", GIVEN_BY_HEADRACE[name])
    for name in ONE_GPU_GROUP:
        if args.get(name) is not None and _whole(name, args[name]) != 1:
            raise InputError(
                f"engine.args.{name}: Headrace runs independent replicas, and plans no other way",
                hint="leave it out; tensor_parallel_size may be set",
            )
    fixed: dict[str, Any] = {}
    for name, value in args.items():
        if name in READERS and value is not None:
            fixed |= READERS[name](name, value)
    return fixed | _drafting(args)


def of_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """The fields of EngineConfig that `engine.env` decides."""
    return {"deep_gemm": env.get("VLLM_USE_DEEP_GEMM", "1").strip() != "0"}


def _whole(name: str, value: Any) -> int:
    """A number as vLLM's `human_readable_int` takes it."""
    match = NUMBER.fullmatch(str(value).strip())
    if isinstance(value, bool) or match is None:
        raise _wrong(name, "a whole number above 0, such as 512 or 16k", value)
    number = float(match[1]) * SUFFIXES.get(match[2], 1)
    if number < 1 or number != int(number):
        raise _wrong(name, "a whole number above 0, such as 512 or 16k", value)
    return int(number)


def _wrong(name: str, expected: str, value: Any) -> InputError:
    return InputError(f"engine.args.{name}: expected {expected}, found {value!r}")


def _read_whole(field: str) -> Callable[[str, Any], dict[str, Any]]:
    return lambda name, value: {field: _whole(name, value)}


def _read_context(name: str, value: Any) -> dict[str, Any]:
    """`auto` and -1 let vLLM cut the context to its memory, which the plan cannot know."""
    if str(value).strip().lower() in ("auto", "-1"):
        raise _wrong(name, "a number of tokens (the plan must know it)", value)
    return {"max_model_len": _whole(name, value)}


def _read_share(name: str, value: Any) -> dict[str, Any]:
    try:
        share = float(value)
    except (TypeError, ValueError):
        raise _wrong(name, "a share of the memory, such as 0.92", value) from None
    if not 0 < share <= 1:
        raise _wrong(name, "a share of the memory above 0 and at most 1", value)
    return {"gpu_memory_utilization": share}


def _read_bool(field: str) -> Callable[[str, Any], dict[str, Any]]:
    def read(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, bool):
            raise _wrong(name, "true or false", value)
        return {field: value}

    return read


def _read_kv_dtype(name: str, value: Any) -> dict[str, Any]:
    if str(value).startswith("fp8") and str(value) != "fp8_ds_mla":
        return {"kv_dtype": "fp8"}
    if value in ("auto", "bfloat16", "float16"):
        return {"kv_dtype": "bf16"}
    raise _wrong(name, "auto, bfloat16, float16 or one of fp8 (others are not modelled)", value)


def _read_state_dtype(name: str, value: Any) -> dict[str, Any]:
    """`auto` is the checkpoint's own; float16 takes the room of bfloat16."""
    if value == "auto":
        return {}
    if value in ("float32", "bfloat16", "float16"):
        return {"state_dtype": "float32" if value == "float32" else "bfloat16"}
    raise _wrong(name, "auto, float32, bfloat16 or float16", value)


def _read_sizes(name: str, value: Any) -> dict[str, Any]:
    sizes = value if isinstance(value, (list, tuple)) else [value]
    return {"captured": tuple(_whole(name, size) for size in sizes)}


def _read_backend(name: str, value: Any) -> dict[str, Any]:
    """By vLLM's spelling: it takes hyphens and capitals too."""
    return {name: str(value).lower().replace("-", "_")}


def _read_attention(name: str, value: Any) -> dict[str, Any]:
    """Of vLLM's attention config only the backend is modelled."""
    backend = _mapping(name, value).get("backend")
    return _read_backend("attention_backend", backend) if backend else {}


def _read_limits(name: str, value: Any) -> dict[str, Any]:
    """No modality allowed is text only, as vLLM decides it."""
    limits = _mapping(name, value)
    return {"text_only": bool(limits) and all(count == 0 for count in limits.values())}


def _mapping(name: str, value: Any) -> dict[str, Any]:
    """A mapping, or its JSON."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise _wrong(name, "a mapping or its JSON", value) from None
    if not isinstance(value, dict):
        raise _wrong(name, "a mapping or its JSON", value)
    return value


def _drafting(args: Mapping[str, Any]) -> dict[str, Any]:
    """The MTP depth of speculative_config, or of spec_method and spec_tokens."""
    if args.get("speculative_config") is not None:
        name = "speculative_config"
        given = _mapping(name, args[name])
        method, depth = given.get("method"), given.get("num_speculative_tokens", 1)
    elif args.get("spec_method") is not None or args.get("spec_tokens") is not None:
        name, method, depth = "spec_method", args.get("spec_method"), args.get("spec_tokens", 1)
    else:
        return {}
    if method != "mtp" and not str(method).endswith("_mtp"):
        raise InputError(
            f"engine.args.{name}: the plan models drafting by the method mtp, found {method!r}",
            hint="set the method to mtp, or leave drafting out",
        )
    return {"mtp_depth": _whole(name, depth)}


READERS: dict[str, Callable[[str, Any], dict[str, Any]]] = {
    "tensor_parallel_size": _read_whole("tensor_parallel"),
    "max_num_seqs": _read_whole("max_num_seqs"),
    "max_num_batched_tokens": _read_whole("max_num_batched_tokens"),
    "stream_interval": _read_whole("stream_interval"),
    "max_model_len": _read_context,
    "gpu_memory_utilization": _read_share,
    "device_memory_utilization": _read_share,
    "kv_cache_dtype": _read_kv_dtype,
    "mamba_ssm_cache_dtype": _read_state_dtype,
    "enable_prefix_caching": _read_bool("prefix_caching"),
    "async_scheduling": _read_bool("async_scheduling"),
    "language_model_only": _read_bool("text_only"),
    "limit_mm_per_prompt": _read_limits,
    "cudagraph_capture_sizes": _read_sizes,
    "max_cudagraph_capture_size": _read_whole("max_captured"),
    "enforce_eager": _read_bool("enforce_eager"),
    "attention_backend": _read_backend,
    "attention_config": _read_attention,
    "gdn_prefill_backend": _read_backend,
    "linear_backend": _read_backend,
}
