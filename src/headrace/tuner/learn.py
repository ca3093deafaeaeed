"""What a few measurements say about configurations that were not measured.

The performance model, fitted to the trials so far, gives the shape (`tuner.recalibrate`). What it
still gets wrong is learned as a linear model of the levers on log(measured / predicted), with
priors that say how wrong it usually is. With a normal prior and normal noise the posterior is exact
(Bayesian linear regression), so a handful of runs is enough to say for every other configuration
what to expect and how surely. A run costs minutes and there are dozens at most: no sampler of a
general optimizer knows as much about the next one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.tuner.space import Option

Floats = NDArray[np.float64]

COMMON_SD = 0.20
"""The model's error that all configurations share, as a share: the band of a plan."""
OCTAVE_SD = {
    "tensor_parallel": 0.08,
    "mtp_depth": 0.08,
    "max_num_seqs": 0.05,
    "max_num_batched_tokens": 0.02,
}
"""What it misjudges when a number doubles; `OTHER_SD` where nothing is said."""
CHOICE_SD = {"checkpoint": 0.08, "kv_dtype": 0.05, "state_dtype": 0.08}
"""What it misjudges of another value."""
OTHER_SD = 0.03
"""Of an option that the performance model does not know."""
NOISE_SD = 0.01
"""Of a whole measurement."""
ROUGH_NOISE_SD = 0.04
"""Of one that was stopped early."""


@dataclass(frozen=True)
class Point:
    """A measured option."""

    option: Option
    measured_tok_s: float
    rough: bool = False


@dataclass(frozen=True)
class Expectation:
    """Total tok/s of one option: median, and deviation of its logarithm."""

    tok_s: float
    sd: float

    def gain_over(self, best_tok_s: float) -> float:
        """Expected improvement on `best_tok_s`, as a share of it."""
        if best_tok_s <= 0:
            return math.inf
        margin = math.log(self.tok_s / best_tok_s)
        if self.sd <= 0:
            return max(0.0, margin)
        z = margin / self.sd
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return margin * (1 + math.erf(z / math.sqrt(2))) / 2 + self.sd * density


class Learned:
    """The posterior after some points; without any it is the performance model and its priors."""

    def __init__(
        self,
        reference: Option,
        options: Sequence[Option],
        points: Sequence[Point],
        predicted: Mapping[str, float],
    ) -> None:
        """`predicted`: total tok/s of every option by its key, by the model as it is fitted now."""
        self._predicted = predicted
        self._features = _Features(reference, options)
        rows = np.array([self._features.row(p.option) for p in points])
        errors = np.array([math.log(p.measured_tok_s / predicted[p.option.key]) for p in points])
        noise = np.array([ROUGH_NOISE_SD if p.rough else NOISE_SD for p in points])
        precision: Floats = np.diag(1 / np.square(self._features.prior_sd)).astype(np.float64)
        if len(points):
            weighted = rows / noise[:, None] ** 2
            precision += weighted.T @ rows
            self._mean = np.linalg.solve(precision, weighted.T @ errors).astype(np.float64)
        else:
            self._mean = np.zeros(len(self._features.prior_sd))
        self._covariance = np.linalg.inv(precision).astype(np.float64)

    def expect(self, option: Option) -> Expectation:
        """What measuring this option would give."""
        row = self._features.row(option)
        sd = math.sqrt(max(0.0, float(row @ self._covariance @ row)))
        median = self._predicted[option.key] * math.exp(float(row @ self._mean))
        return Expectation(median, sd)


class _Features:
    """An option as numbers: one for all, octaves of numeric levers, a flag for other changes."""

    def __init__(self, reference: Option, options: Sequence[Option]) -> None:
        self._reference = reference.levers
        self._numeric = [n for n, v in self._reference.items() if _is_number(v)]
        others = [n for n in self._reference if n not in self._numeric]
        self._flags = sorted(
            {(n, str(o.levers.get(n))) for o in options for n in others}
            - {(n, str(self._reference[n])) for n in others}
        )
        octaves = [OCTAVE_SD.get(name, OTHER_SD) for name in self._numeric]
        choices = [CHOICE_SD.get(name, OTHER_SD) for name, _ in self._flags]
        self.prior_sd: Floats = np.array([COMMON_SD, *octaves, *choices])

    def row(self, option: Option) -> Floats:
        octaves = [_octaves(option.levers[n], self._reference[n]) for n in self._numeric]
        flags = [float(str(option.levers.get(name)) == value) for name, value in self._flags]
        return np.array([1.0, *octaves, *flags])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _octaves(value: Any, reference: Any) -> float:
    """Doublings between two values of a lever; 0 counts as half of the smallest step."""
    if not _is_number(value):
        return 0.0
    return math.log2((1 + value) / (1 + reference))
