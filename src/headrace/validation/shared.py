"""The constants that all cells share, fitted to end-to-end points; and each cell left out in turn.

What is fitted: the `[step]` table and the host constants of the calibration `vllm`. Every cell
counts the same, however many rows it has, and a weak pull towards round figures (`PRIOR`) keeps
what the rows do not say from running away.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from headrace.perf.constants import Constants
from headrace.perf.fit import fit
from headrace.perf.gemm import Floats
from headrace.validation.cells import Pair
from headrace.validation.predict import Case

CALIBRATION = "vllm"
ALIKE = (CALIBRATION, "sglang-hybrid")
"""Calibrations that take these constants; only rows of the first are fitted to."""
PRIOR: dict[str, float] = {
    "gemm_extra_s": 0.5e-6,
    "large_gemm": 0.95,
    "moe_launches": 0.3,
    "all_reduce_extra_s": 1.5e-6,
    "all_reduce_bytes": 0.4,
    "first_wave_share": 0.15,
    "step_s": 1.5e-3,
    "sequence_s": 20e-6,
    "mixed_s": 8e-3,
    "request_s": 15e-3,
}
OF_STEP = 6
"""The first of these are the `[step]` table's, the others the calibration's."""
TTFT_WEIGHT = 0.3
PULL = 0.05


@dataclass(frozen=True)
class Shared:
    """Values of the fitted constants by name."""

    values: dict[str, float]

    def into(self, constants: Constants) -> Constants:
        """The same constants with these in them."""
        names = list(PRIOR)
        step = {name: self.values[name] for name in names[:OF_STEP]}
        host = {name: self.values[name] for name in names[OF_STEP:]}
        return constants.model_copy(
            update={
                "step": constants.step.model_copy(update=step),
                "calibration": tuple(
                    c.model_copy(update=host) if c.name in ALIKE else c
                    for c in constants.calibration
                ),
            }
        )


def fit_shared(cases: list[Case], constants: Constants) -> Shared:
    """Fit to all these cases, which the calibration `vllm` must cover."""
    sizes = Counter(case.cell for case in cases)
    weights = [math.sqrt(len(cases) / len(sizes) / sizes[case.cell]) for case in cases]

    def residuals(x: Floats) -> Floats:
        moved = _at(x).into(constants)
        rows = [w * e for case, w in zip(cases, weights, strict=True) for e in _errors(case, moved)]
        return np.array([*rows, *(PULL * math.sqrt(len(cases)) * (x - 1))])

    return _at(fit(residuals, np.ones(len(PRIOR))))


def leave_one_cell_out(cases: list[Case], constants: Constants) -> list[Pair]:
    """Every case predicted by constants that were fitted without its whole cell."""
    pairs: list[Pair] = []
    for cell in sorted({case.cell for case in cases}):
        others = fit_shared([c for c in cases if c.cell != cell], constants).into(constants)
        pairs += [Pair(c, c.predict(others)) for c in cases if c.cell == cell]
    return pairs


def fitted_cases(cases: list[Case], constants: Constants) -> list[Case]:
    """Those that the shared calibration covers."""
    return [c for c in cases if c.calibration(constants).name == CALIBRATION]


def _at(x: Floats) -> Shared:
    return Shared(
        {name: prior * float(v) for (name, prior), v in zip(PRIOR.items(), x, strict=True)}
    )


def _errors(case: Case, constants: Constants) -> list[float]:
    predicted, measured = case.predict(constants), case.measured
    errors = []
    if measured.tpot_ms:
        errors.append(math.log(predicted.tpot_ms / measured.tpot_ms))
    if measured.ttft_ms:
        errors.append(TTFT_WEIGHT * math.log(predicted.ttft_ms / measured.ttft_ms))
    return errors
