"""Seconds of one GEMM by shape, from `gemm.npz`: measured latencies on a coarse grid.

The file is written by `scripts/derive_kernels.py` from aiconfigurator-core 0.12.0 (Apache-2.0,
NVIDIA): for each GPU and format an array (tokens, n, k) of seconds. Between the grid's points the
logarithm is linear in the logarithms of n and k, along which a roofline is a straight line.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@cache
def _tables() -> tuple[tuple[float, ...], dict[str, Floats]]:
    """The grid's sides, and log seconds by `GPU/format`."""
    with (
        resources.files("headrace.perf").joinpath("gemm.npz").open("rb") as file,
        np.load(file) as arrays,
    ):
        sides = tuple(math.log(side) for side in arrays["sides"].tolist())
        names = [name for name in arrays.files if "/" in name]
        return sides, {name: np.log(arrays[name].astype(np.float64)) for name in names}


def has_gemm(gpu: str, table: str) -> bool:
    """Whether GEMMs of this format were measured on this GPU."""
    return f"{gpu}/{table}" in _tables()[1]


@cache
def gemm_seconds(gpu: str, table: str, n: float, k: float) -> Floats:
    """Seconds of one GEMM with k x n weights, for every number of tokens in `kernels.TOKENS`.

    Sides below the grid cost as much as the grid's first; beyond its last, time grows with them.
    """
    sides, tables = _tables()
    row, down, beyond_n = _place(sides, n)
    column, right, beyond_k = _place(sides, k)
    square = tables[f"{gpu}/{table}"][:, row : row + 2, column : column + 2]
    along = (1 - down) * square[:, 0, :] + down * square[:, 1, :]
    logs: Floats = (1 - right) * along[:, 0] + right * along[:, 1]
    return np.exp(logs) * beyond_n * beyond_k


def _place(sides: tuple[float, ...], size: float) -> tuple[int, float, float]:
    """The cell of the grid, the place in it from 0 to 1, and a factor for what lies beyond."""
    log = math.log(size)
    index = min(max(bisect_right(sides, log) - 1, 0), len(sides) - 2)
    share = (log - sides[index]) / (sides[index + 1] - sides[index])
    return index, min(max(share, 0.0), 1.0), max(1.0, math.exp(log - sides[-1]))
