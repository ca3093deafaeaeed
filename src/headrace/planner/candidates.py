"""The configurations that a search tries: every lever's values, less those that the user fixed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from headrace.hardware.gpu import Gpu
from headrace.models.facts import KvDtype, ModelFacts, StateDtype
from headrace.perf.config import EngineConfig
from headrace.spec.fleet import Fleet

MAX_NUM_SEQS = (8, 16, 32, 48, *range(64, 320, 32), *range(320, 513, 64), *range(640, 1025, 128))
BATCHED_TOKENS = (2048, 4096, 8192, 16384, 32768)
MTP_DEPTHS = (0, 1, 2, 3, 5)
GRAPHS = {"captured", "max_captured", "enforce_eager"}
"""What a file may say of CUDA graphs."""


@dataclass(frozen=True)
class Levers:
    """The values to try of every lever; the search is their product."""

    tensor_parallel: tuple[int, ...]
    kv_dtype: tuple[KvDtype, ...]
    state_dtype: tuple[StateDtype, ...]
    mtp_depth: tuple[int, ...]
    max_num_seqs: tuple[int, ...]
    max_num_batched_tokens: tuple[int, ...]
    max_model_len: tuple[int, ...]
    captured: tuple[tuple[int, ...], ...] = ((),)
    """Sizes of CUDA graphs; none: vLLM's own."""
    attention_backend: tuple[str, ...] = ("auto",)
    linear_backend: tuple[str, ...] = ("auto",)

    def configs(self, base: EngineConfig) -> Iterator[EngineConfig]:
        """Every combination, as changes of `base`."""
        names = [f.name for f in fields(self)]
        fixed = {f.name: getattr(base, f.name) for f in fields(base) if f.name not in names}
        for values in itertools.product(*(getattr(self, name) for name in names)):
            yield EngineConfig(**fixed, **dict(zip(names, values, strict=True)))


def levers(
    fleet: Fleet,
    facts: ModelFacts,
    gpu: Gpu,
    fixed: dict[str, Any],
    *,
    captured: tuple[tuple[int, ...], ...] = ((),),
    attention_backend: tuple[str, ...] = ("auto",),
    linear_backend: tuple[str, ...] = ("auto",),
) -> Levers:
    """All values of all levers for a fleet; a lever in `fixed` has that one value.

    `captured` are the lists of CUDA-graph sizes to try, where the file says nothing of graphs,
    `attention_backend` and `linear_backend` the kernels that there are to choose from, where their
    times are known.

    A longer context than the requests need costs nothing and gains nothing, so that one length is
    tried; a file's own is taken.
    """
    context = context_tokens(fleet, facts)
    free: dict[str, tuple[Any, ...]] = {
        "tensor_parallel": tuple(n for n in (1, 2, 4, 8) if n <= fleet.hardware.gpus_per_node),
        "kv_dtype": ("bf16", "fp8") if gpu.kind == "gpu" else ("bf16",),
        "state_dtype": ("float32", "bfloat16") if facts.linear_attention else (facts.state_dtype,),
        "mtp_depth": MTP_DEPTHS if facts.mtp_layers else (0,),
        "max_num_seqs": _sequences(fleet),
        "max_num_batched_tokens": BATCHED_TOKENS,
        "max_model_len": (context,),
        "attention_backend": attention_backend,
        "linear_backend": linear_backend,
        "captured": captured if fixed.keys().isdisjoint(GRAPHS) else ((),),
    }
    return Levers(**{k: (fixed[k],) if k in fixed else v for k, v in free.items()})


def _sequences(fleet: Fleet) -> tuple[int, ...]:
    """The grid of max_num_seqs, with a stated concurrency's share of each layout added."""
    if fleet.workload.concurrency == "auto":
        return MAX_NUM_SEQS
    gpus = fleet.hardware.gpus
    shares = {min(4096, -(-fleet.workload.concurrency * tp // gpus)) for tp in (1, 2, 4, 8)}
    return tuple(sorted({*MAX_NUM_SEQS, *shares}))


def context_tokens(fleet: Fleet, facts: ModelFacts) -> int:
    """The smallest power of two from 2,048 that holds any request, within the model's limit."""
    needed = fleet.workload.longest_tokens
    return min(max(2048, 1 << (needed - 1).bit_length()), facts.max_context_tokens)
