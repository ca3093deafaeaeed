"""Errors by cell: one engine, model, GPU and weight format. `headrace validate --json`."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from headrace.perf.constants import Constants
from headrace.validation.cases import UnsupportedError, case_of
from headrace.validation.points import Point
from headrace.validation.predict import Case, Measured, Predicted


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cell(_Part):
    """Mean absolute percentage errors of one cell; None where nothing was measured."""

    engine: str
    model: str
    gpu: str
    weights_dtype: str
    n: int
    mape_tpot: float | None
    median_ape_ttft: float | None
    mape_throughput: float | None
    in_band: float | None
    """Share of TPOT points inside the prediction's band."""

    @property
    def name(self) -> str:
        """In one line."""
        return f"{self.engine} {self.model} {self.gpu} {self.weights_dtype or '16 bit'}"


class Unsupported(_Part):
    """A row that was not predicted, and why."""

    id: str
    reason: str


class Validation(_Part):
    """All cells, and the errors over all predicted rows. Errors are in per cent."""

    rows: int
    predicted: int
    cells: list[Cell]
    mape_tpot: float | None
    median_ape_ttft: float | None
    mape_throughput: float | None
    unsupported: list[Unsupported]


@dataclass(frozen=True)
class Pair:
    """A case and what was predicted of it."""

    case: Case
    predicted: Predicted

    @property
    def measured(self) -> Measured:
        """What it was to be."""
        return self.case.measured


def validate(points: list[Point], constants: Constants) -> Validation:
    """Predict every point that can be, and measure the errors."""
    return summarize(*pairs_of(points, constants))


def pairs_of(points: list[Point], constants: Constants) -> tuple[list[Pair], list[Unsupported]]:
    """Every row that can be predicted beside its prediction, and those that cannot."""
    cases, unsupported = cases_of(points, constants)
    return [Pair(case, case.predict(constants)) for case in cases], unsupported


def cases_of(points: list[Point], constants: Constants) -> tuple[list[Case], list[Unsupported]]:
    """The rows that can be predicted, and those that cannot."""
    cases: list[Case] = []
    unsupported: list[Unsupported] = []
    for point in points:
        try:
            cases.append(case_of(point, constants))
        except UnsupportedError as error:
            unsupported.append(Unsupported(id=point.id, reason=str(error)))
    return cases, unsupported


def summarize(pairs: list[Pair], unsupported: list[Unsupported]) -> Validation:
    """Errors by cell and over all."""
    return Validation(
        rows=len(pairs) + len(unsupported),
        predicted=len(pairs),
        cells=[cell_of(members) for members in by_cell(pairs)],
        mape_tpot=_mean(_tpot_errors(pairs)),
        median_ape_ttft=_median(_ttft_errors(pairs)),
        mape_throughput=_mean(_throughput_errors(pairs)),
        unsupported=unsupported,
    )


def by_cell(pairs: list[Pair]) -> list[list[Pair]]:
    """The pairs of each cell, in the order of their names."""
    cells = defaultdict(list)
    for pair in pairs:
        cells[pair.case.cell].append(pair)
    return [members for _, members in sorted(cells.items())]


def cell_of(pairs: list[Pair]) -> Cell:
    """Errors of pairs that are all of one cell."""
    engine, model, gpu, weights_dtype = pairs[0].case.cell
    inside = [p.predicted.holds(p.predicted.tpot_ms, m) for p in pairs if (m := p.measured.tpot_ms)]
    return Cell(
        engine=engine,
        model=model,
        gpu=gpu,
        weights_dtype=weights_dtype,
        n=len(pairs),
        mape_tpot=_mean(_tpot_errors(pairs)),
        median_ape_ttft=_median(_ttft_errors(pairs)),
        mape_throughput=_mean(_throughput_errors(pairs)),
        in_band=sum(inside) / len(inside) if inside else None,
    )


def _tpot_errors(pairs: list[Pair]) -> list[float]:
    return [_error(p.predicted.tpot_ms, m) for p in pairs if (m := p.measured.tpot_ms)]


def _ttft_errors(pairs: list[Pair]) -> list[float]:
    return [_error(p.predicted.ttft_ms, m) for p in pairs if (m := p.measured.ttft_ms)]


def _throughput_errors(pairs: list[Pair]) -> list[float]:
    return [_error(p.predicted.total_tok_s, m) for p in pairs if (m := p.measured.total_tok_s)]


def _error(predicted: float, measured: float) -> float:
    return 100 * abs(predicted / measured - 1)


def _mean(errors: list[float]) -> float | None:
    return statistics.fmean(errors) if errors else None


def _median(errors: list[float]) -> float | None:
    return statistics.median(errors) if errors else None
