"""From a configuration to `vllm serve` and its options, and what vLLM does when left alone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from headrace.engines.vllm import flags
from headrace.engines.vllm.fixed import engine_config, of_environment
from headrace.errors import InputError
from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.config import EngineConfig
from headrace.perf.graphs import covering
from headrace.spec.fleet import Engine

__all__ = [
    "command",
    "configured",
    "defaults",
    "engine_args",
    "engine_config",
    "of_environment",
    "shell",
    "unsupported",
]

GIB = 2**30
SHUTDOWN_S = 20
"""Seconds for requests in flight after SIGTERM; vLLM's own end takes up to ten more."""
CPU_BATCH = (2048, 128)
"""vLLM's max_num_batched_tokens and max_num_seqs for a server on a CPU, all versions read."""


def defaults(version: str, gpu: Gpu, facts: ModelFacts) -> EngineConfig:
    """What `vllm serve MODEL` runs with when no option is given.

    Raises InputError for a version that is not known.
    """
    batched_tokens, seqs = _batch_defaults(version, gpu)
    hybrid = facts.linear_attention is not None
    return EngineConfig(
        version=version,
        tensor_parallel=1,
        kv_dtype="bf16",
        state_dtype=facts.state_dtype,
        mtp_depth=0,
        max_num_seqs=seqs,
        max_num_batched_tokens=batched_tokens,
        max_model_len=facts.max_context_tokens,
        gpu_memory_utilization=flags.default("gpu_memory_utilization", version),
        stream_interval=flags.default("stream_interval", version),
        prefix_caching=flags.default("hybrid_prefix_caching", version) if hybrid else True,
        text_only=False,
        async_scheduling=True,
        enforce_eager=gpu.kind == "cpu",
    )


def configured(
    engine: Engine, args: Mapping[str, Any], gpu: Gpu, facts: ModelFacts
) -> EngineConfig:
    """What these options, its variables and weights make of it.

    Raises InputError as `engine_config` does.
    """
    fixed = engine_config(args, engine.version) | of_environment(engine.env)
    dummy_weights = engine.load_format == "dummy"
    return replace(defaults(engine.version, gpu, facts), **fixed, dummy_weights=dummy_weights)


def _batch_defaults(version: str, gpu: Gpu) -> tuple[int, int]:
    """max_num_batched_tokens and max_num_seqs by the GPU's memory."""
    if gpu.kind == "cpu":
        return CPU_BATCH
    rows: list[list[int]] = flags.default("server_batch", version)
    if gpu.name.upper().startswith("A100"):
        rows = rows[-1:]
    tokens, seqs = next(row[1:] for row in rows if gpu.memory_bytes >= row[0] * GIB)
    return tokens, seqs


def engine_args(config: EngineConfig, facts: ModelFacts, *, planned: bool = True) -> dict[str, Any]:
    """The options that make vLLM run as `config` says, by name in snake case.

    Not planned: none, since what the file leaves out is vLLM's own. Options that this version has
    not are left out where vLLM then does the same; a lever that it lacks raises InputError.
    """
    if not planned:
        return {}
    wanted = _limits(config) | _levers(config, facts) | _serving(config)
    flags.check(wanted, config.version)
    return wanted


def overridden(planned: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The plan's options under the user's. A list of capture sizes names its largest itself."""
    args = {**planned, **own}
    if "cudagraph_capture_sizes" in own and "max_cudagraph_capture_size" not in own:
        args.pop("max_cudagraph_capture_size", None)
    return args


def _limits(config: EngineConfig) -> dict[str, Any]:
    args: dict[str, Any] = {
        "tensor_parallel_size": config.tensor_parallel,
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "max_num_batched_tokens": config.max_num_batched_tokens,
    }
    usual = flags.default("gpu_memory_utilization", config.version)
    if not math.isclose(config.gpu_memory_utilization, usual):
        args["gpu_memory_utilization"] = config.gpu_memory_utilization
    return args


def _levers(config: EngineConfig, facts: ModelFacts) -> dict[str, Any]:
    args: dict[str, Any] = {}
    if config.kv_dtype == "fp8":
        args["kv_cache_dtype"] = "fp8"
    if facts.linear_attention and config.state_dtype != facts.state_dtype:
        args["mamba_ssm_cache_dtype"] = config.state_dtype
    if config.mtp_depth:
        drafting = {"method": "mtp", "num_speculative_tokens": config.mtp_depth}
        args["speculative_config"] = drafting
    args |= _capture(config)
    if config.attention_backend != "auto":
        args["attention_backend"] = config.attention_backend.upper()
    if config.linear_backend != "auto":
        args["linear_backend"] = config.linear_backend
    if not config.async_scheduling:
        args["async_scheduling"] = False
    args["enable_prefix_caching"] = config.prefix_caching
    if config.text_only and "ForConditionalGeneration" in facts.architecture:
        args["language_model_only"] = True
    return args


def _capture(config: EngineConfig) -> dict[str, Any]:
    """The sizes that were chosen, or one for the fullest decode step where vLLM's own end below."""
    if config.captured:
        fitting = [size for size in config.captured if size <= config.max_num_batched_tokens]
        return {"cudagraph_capture_sizes": fitting}
    largest = covering(config.max_num_seqs, config.mtp_depth, config.max_num_batched_tokens)
    return {"max_cudagraph_capture_size": largest} if largest else {}


def _serving(config: EngineConfig) -> dict[str, Any]:
    """How it streams, logs and stops."""
    args: dict[str, Any] = {"shutdown_timeout": SHUTDOWN_S, "disable_uvicorn_access_log": True}
    if config.stream_interval != 1:
        args["stream_interval"] = config.stream_interval
    return args


def unsupported(args: Mapping[str, Any], version: str) -> list[str]:
    """The options that this version has not. Raises InputError for an unknown version."""
    return flags.unsupported(dict(args), version)


def command(
    model: str, args: Mapping[str, Any], version: str, executable: str = "vllm"
) -> list[str]:
    """The command line that serves `model` with these options.

    Raises InputError for an option that this version has not (the nearest one is named) and for
    a value that the option cannot take.
    """
    flags.check(dict(args), version)
    kinds = flags.options(version)
    words = [executable, "serve", model]
    for name, value in args.items():
        words += _words(name, kinds[name], value)
    return words


def _words(name: str, kind: flags.Kind, value: Any) -> list[str]:
    """One option as vLLM's parser reads it; nothing for None."""
    option = f"--{flags.dashed(name)}"
    if value is None:
        return []
    if kind in ("switch", "flag"):
        return _switch(name, kind, value)
    if kind == "json":
        return [option, _json(value)]
    if kind == "list":
        return [option, *(_text(name, item) for item in _listed(value))]
    if kind == "append":
        return [word for item in _listed(value) for word in (option, _text(name, item))]
    return [option, _text(name, value)]


def _switch(name: str, kind: flags.Kind, value: Any) -> list[str]:
    if not isinstance(value, bool):
        raise InputError(f"engine.args.{name}: expected true or false, found {value!r}")
    if value:
        return [f"--{flags.dashed(name)}"]
    return [f"--no-{flags.dashed(name)}"] if kind == "switch" else []


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _text(name: str, value: Any) -> str:
    if isinstance(value, (dict, list, tuple)):
        found = "a mapping" if isinstance(value, dict) else "a list"
        raise InputError(f"engine.args.{name}: expected one value, found {found}")
    return str(value)


def _json(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def shell(words: list[str]) -> str:
    """The command as one line to paste into a shell; a leading ~ keeps its meaning."""
    first, *others = words
    home = "~/" if first.startswith("~/") else ""
    return " ".join([home + shlex.quote(first.removeprefix(home)), *map(shlex.quote, others)])
