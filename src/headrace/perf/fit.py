"""Robust least squares for a handful of positive constants.

Gauss-Newton with Levenberg's damping on a soft L1 loss, derivatives by differences: problems here
have at most a dozen unknowns and some hundred rows, for which a dependency of a hundred megabytes
would be too much.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from headrace.perf.gemm import Floats

Residuals = Callable[[Floats], Floats]
STEP = 1e-3
ROBUST_SCALE = 0.1
"""Residuals (relative errors) above this count linearly, not squared: rows can be wrong."""
ITERATIONS = 40
ENOUGH = 1e-5


def fit(residuals: Residuals, start: Floats) -> Floats:
    """The non-negative vector that makes `residuals` small, beginning at `start`.

    Unknowns should be scaled to about 1. `residuals` returns relative errors.
    """
    x, damping = np.array(start, dtype=np.float64), 1e-2
    errors = residuals(x)
    cost = _cost(errors)
    for _ in range(ITERATIONS):
        slopes = jacobian(residuals, x, errors)
        moved = _step(slopes, errors, x, damping)
        trial = residuals(moved)
        if _cost(trial) < cost:
            gain = 1 - _cost(trial) / cost
            x, errors, cost, damping = moved, trial, _cost(trial), damping / 4
            if gain < ENOUGH:
                break
        else:
            damping *= 6
            if damping > 1e6:
                break
    return x


def jacobian(residuals: Residuals, x: Floats, errors: Floats) -> Floats:
    """Derivatives of the residuals, a column per unknown."""
    columns = []
    for index in range(len(x)):
        aside = x.copy()
        aside[index] += STEP
        columns.append((residuals(aside) - errors) / STEP)
    return np.array(columns).T


def independent(slopes: Floats, least: float) -> bool:
    """Whether the data tells the unknowns apart: no combination of them moves it too little."""
    return bool(len(slopes) and np.linalg.svd(slopes, compute_uv=False)[-1] >= least)


def _step(slopes: Floats, errors: Floats, x: Floats, damping: float) -> Floats:
    weights = 1 / np.sqrt(1 + (errors / ROBUST_SCALE) ** 2)
    normal = slopes.T @ (weights[:, None] * slopes)
    normal += damping * np.diag(np.maximum(np.diag(normal), 1e-12))
    return np.maximum(x - np.linalg.solve(normal, slopes.T @ (weights * errors)), 0.0)


def _cost(errors: Floats) -> float:
    return float(np.sum(np.sqrt(1 + (errors / ROBUST_SCALE) ** 2) - 1))
