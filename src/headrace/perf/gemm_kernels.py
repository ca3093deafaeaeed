"""GEMM kernels that engines take instead of the tables' own, read from `gemm_kernels.toml`.

The tables (`gemm.npz`) hold cuBLAS. vLLM's CUTLASS kernels for FP8 on Hopper differ from it by the
number of tokens, and not smoothly: between multiples of their tile they take up to twice as long.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import numpy as np
from pydantic import BaseModel, ConfigDict

from headrace.perf.gemm import Floats
from headrace.perf.kernels import TOKENS


class GemmKernel(BaseModel):
    """One kernel's time over the tables', by tokens in the step; all layers of a model together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpu: str
    tokens: tuple[float, ...]
    """Ascending; beyond its ends the ratio stays."""
    ratio: tuple[float, ...]
    source: str

    @property
    def grid(self) -> tuple[float, ...]:
        """Its own numbers of tokens, and the tables' beyond them."""
        return *self.tokens, *(t for t in TOKENS if t > self.tokens[-1])

    def seconds(self, table_s: Floats) -> Floats:
        """`table_s`, given at TOKENS, as this kernel takes at `grid`."""
        grid = np.array(self.grid)
        seconds: Floats = np.interp(grid, TOKENS, table_s) * np.interp(
            grid, self.tokens, self.ratio
        )
        return seconds


@cache
def load_gemm_kernels() -> dict[str, GemmKernel]:
    """The packaged kernels by name."""
    text = resources.files("headrace.perf").joinpath("gemm_kernels.toml").read_text("utf-8")
    return {name: GemmKernel.model_validate(one) for name, one in tomllib.loads(text).items()}
