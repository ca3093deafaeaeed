"""Fits an engine's few constants to a user's own measurements. `headrace calibrate`.

One calibration per engine, version family, GPU and weight format. No more constants are fitted
than the rows can tell apart: there must be more rows than constants, and each must move the
predictions in a way that the others do not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from headrace.errors import InputError
from headrace.perf.calibration import HOST_TIME, Calibration, version_key
from headrace.perf.constants import Constants
from headrace.perf.fit import fit, independent, jacobian
from headrace.perf.gemm import Floats
from headrace.validation.predict import Case

SCALE: dict[str, float] = {
    "kernel_time": 1.0,
    HOST_TIME: 1.0,
    "step_s": 1e-3,
    "sequence_s": 20e-6,
    "mixed_s": 8e-3,
    "launch_s": 50e-3,
    "piecewise_s": 50e-3,
    "request_s": 15e-3,
}
"""What a unit of each unknown stands for."""
TTFT_WEIGHT = 0.3
LEAST = 0.02
"""Relative change of the predictions, per unit of the least visible combination of constants."""
NARROWEST_BAND = 0.05
WIDER = 1.5
"""The band is this much wider than the residuals: next runs differ from those that were fitted."""

Key = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Residual:
    """One row before and after: relative errors of TPOT, TTFT and throughput where measured."""

    id: str
    before: dict[str, float]
    after: dict[str, float]


@dataclass(frozen=True)
class Fitted:
    """A calibration and how well it explains its rows."""

    calibration: Calibration
    constants: dict[str, float]
    """What was fitted, and the values found."""
    before: float
    """Mean absolute relative error over all that was measured, before the fit and after."""
    after: float
    residuals: tuple[Residual, ...]


def calibrate(
    cases: list[Case], constants: Constants, wanted: tuple[str, ...] = ()
) -> list[Fitted]:
    """A calibration for every engine, version family, GPU and format among the cases.

    `wanted` names the constants to fit; left out, as many as the rows carry. Raises InputError
    when rows are too few, or do not carry the constants that are asked for.
    """
    groups: dict[Key, list[Case]] = defaultdict(list)
    for case in cases:
        groups[key_of(case)].append(case)
    return [_fit_group(key, rows, constants, wanted) for key, rows in sorted(groups.items())]


def key_of(case: Case) -> Key:
    """Engine, version family, model family, GPU and weights."""
    major, minor = (*version_key(case.config.version), 0)[:2]
    weights = case.facts.weights_dtype
    return (case.engine, f"{major}.{minor}", case.facts.family, case.gpu.name, weights)


def name_of(key: Key) -> str:
    """`vllm-0.26-hybrid-H200-fp8_block`."""
    return "-".join(part.replace(" ", "-") for part in key)


def _fit_group(
    key: Key, cases: list[Case], constants: Constants, wanted: tuple[str, ...]
) -> Fitted:
    zeros = any(case.zeros for case in cases)
    base = cases[0].calibration(constants).model_copy(update={"zeros": zeros})
    names = wanted or _carried(cases, constants, base)
    _check(key, cases, constants, base, names)
    problem = _Problem(cases, constants, base, names)
    found = fit(problem.residuals, problem.start())
    return _fitted(key, cases, constants, problem.at(found), problem.values(found))


def _carried(cases: list[Case], constants: Constants, base: Calibration) -> tuple[str, ...]:
    """The longest run of constants, in their order, that these rows tell apart."""
    for length in range(len(base.carried), 1, -1):
        names = base.carried[:length]
        if _lacking(cases, constants, base, names) is None:
            return names
    return base.carried[:1]


def _check(
    key: Key,
    cases: list[Case],
    constants: Constants,
    base: Calibration,
    names: tuple[str, ...],
) -> None:
    lacking = _lacking(cases, constants, base, names)
    if lacking is None:
        return
    rows = ", ".join(case.id for case in cases[:5])
    raise InputError(
        f"{name_of(key)}: {lacking} (rows {rows})",
        hint="measure more loads (batch sizes from small to full), or name fewer --constants",
    )


def _lacking(
    cases: list[Case], constants: Constants, base: Calibration, names: tuple[str, ...]
) -> str | None:
    """Why the rows do not carry these constants; None when they do."""
    shown = ", ".join(names)
    if len(cases) <= len(names):
        return f"{len(cases)} row(s) cannot carry {len(names)} constant(s): {shown}"
    problem = _Problem(cases, constants, base, names)
    start = problem.start()
    slopes = jacobian(problem.residuals, start, problem.residuals(start))
    if independent(slopes / math.sqrt(len(cases)), LEAST):
        return None
    return f"its {len(cases)} rows do not tell these constants apart: {shown}"


class _Problem:
    """Residuals of the cases as a function of scaled constants."""

    def __init__(
        self, cases: list[Case], constants: Constants, base: Calibration, names: tuple[str, ...]
    ) -> None:
        self.cases, self.constants, self.base, self.names = cases, constants, base, names

    def start(self) -> Floats:
        values = [getattr(self.base, name, 1.0) / SCALE[name] for name in self.names]
        return np.array(values, dtype=np.float64)

    def values(self, x: Floats) -> dict[str, float]:
        """The constants at a point of the search."""
        return {n: max(SCALE[n] * float(v), 1e-12) for n, v in zip(self.names, x, strict=True)}

    def at(self, x: Floats) -> Calibration:
        """The calibration at a point of the search."""
        values = self.values(x)
        return self.base.on_host(values.pop(HOST_TIME, 1.0)).model_copy(update=values)

    def residuals(self, x: Floats) -> Floats:
        moved = _only(self.constants, self.at(x))
        errors = [_logs(case, moved) for case in self.cases]
        return np.array([e for row in errors for e in row.values()])


def _only(constants: Constants, calibration: Calibration) -> Constants:
    """The constants with one calibration before all others."""
    return constants.with_calibrations((calibration,))


def _logs(case: Case, constants: Constants) -> dict[str, float]:
    """Log ratios of predicted to measured; TTFT counts for less."""
    predicted, measured = case.predict(constants), case.measured
    found = {}
    if measured.tpot_ms:
        found["tpot"] = math.log(predicted.tpot_ms / measured.tpot_ms)
    if measured.total_tok_s:
        found["tok_s"] = math.log(predicted.total_tok_s / measured.total_tok_s)
    if measured.ttft_ms:
        found["ttft"] = TTFT_WEIGHT * math.log(predicted.ttft_ms / measured.ttft_ms)
    return found


def _fitted(
    key: Key,
    cases: list[Case],
    constants: Constants,
    moved: Calibration,
    found: dict[str, float],
) -> Fitted:
    after = _only(constants, moved)
    residuals = tuple(
        Residual(case.id, _relative(case, constants), _relative(case, after)) for case in cases
    )
    tpot = [abs(r.after["tpot"]) for r in residuals if "tpot" in r.after]
    _, version, family, gpu, weights = key
    calibration = moved.model_copy(
        update={
            "name": name_of(key),
            "versions": (version, version),
            "families": (family,),
            "gpus": (gpu,),
            "weights": (weights,),
            "measured": (f"{gpu}/{weights}",),
            "band": _band(tpot),
            "rows": len(cases),
            "residual": round(float(np.mean(tpot)), 4) if tpot else None,
            "source": f"{', '.join(found)} fitted to your rows {_listed(cases)}",
        }
    )
    return Fitted(
        calibration=calibration,
        constants=found,
        before=_mean([r.before for r in residuals]),
        after=_mean([r.after for r in residuals]),
        residuals=residuals,
    )


def _relative(case: Case, constants: Constants) -> dict[str, float]:
    predicted, measured = case.predict(constants), case.measured
    pairs = {
        "tpot": (predicted.tpot_ms, measured.tpot_ms),
        "ttft": (predicted.ttft_ms, measured.ttft_ms),
        "tok_s": (predicted.total_tok_s, measured.total_tok_s),
    }
    return {name: p / m - 1 for name, (p, m) in pairs.items() if m}


def _mean(residuals: list[dict[str, float]]) -> float:
    return float(np.mean([abs(e) for row in residuals for e in row.values()]))


def _band(tpot: list[float]) -> float:
    """Four of five residuals, and half as much again."""
    spread = WIDER * float(np.quantile(tpot, 0.8)) if tpot else NARROWEST_BAND
    return round(min(max(spread, NARROWEST_BAND), 0.9), 3)


def _listed(cases: list[Case]) -> str:
    shown = ", ".join(case.id for case in cases[:8])
    return shown if len(cases) <= 8 else f"{shown} and {len(cases) - 8} more"
