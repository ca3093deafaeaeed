"""Kernel efficiencies by size, read from `kernels.toml`: roofline time over measured time."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict

from headrace.hardware.gpu import ComputeDtype

TOKENS = tuple(float(2**n) for n in range(15))
"""The numbers of tokens that the tables are given for, as `kernels.toml` says itself."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Curve(_Table):
    """A kernel's launch time, and its efficiency by number of tokens (one figure: at every)."""

    launch_s: float
    efficiency: tuple[float, ...]
    source: str

    def at(self, index: int) -> float:
        """The efficiency at TOKENS[index]."""
        return self.efficiency[min(index, len(self.efficiency) - 1)]


class AllReduce(_Table):
    """A straight line: latency, and bytes of the message per second."""

    latency_s: float
    bytes_s: float
    source: str


class GpuTables(_Table):
    """One GPU's kernels, by weight, cache or message format.

    `bandwidth_bytes_s` and `flops` are the data sheet that efficiencies are shares of. `gemm` is
    for devices whose GEMMs were not measured shape by shape (`gemm.npz`).
    """

    bandwidth_bytes_s: float
    flops: dict[ComputeDtype, float]
    gemm: dict[str, Curve] = {}
    moe: dict[str, Curve] = {}
    decode_attention: dict[str, Curve]
    prefill_attention: Curve
    all_reduce: dict[str, AllReduce] = {}


@cache
def load_tables() -> dict[str, GpuTables]:
    """The packaged tables by GPU."""
    text = resources.files("headrace.perf").joinpath("kernels.toml").read_text("utf-8")
    document = tomllib.loads(text)
    if tuple(map(float, document.pop("tokens"))) != TOKENS:
        raise ValueError("kernels.toml: the grid of tokens is not the one that TOKENS names")
    return {gpu: GpuTables.model_validate(tables) for gpu, tables in document.items()}
