"""The model's errors on published points, by cell; whole cells are left out, never random rows.

The shared constants are fitted anew without each vLLM cell, so these are errors of forecasts. No
row of SGLang is fitted to; its hybrid models are forecasts throughout.
"""

from pathlib import Path

import pytest

from headrace.perf.constants import load_constants
from headrace.validation.cells import Cell, Validation, cases_of, summarize, validate
from headrace.validation.points import load_points
from headrace.validation.shared import PRIOR, fit_shared, fitted_cases, leave_one_cell_out

pytestmark = pytest.mark.compute

POINTS = Path(__file__).parent.parent / "data" / "points.csv"
WORST = {("Qwen3.5-35B-A3B", "H200")}
EARLIER = "earlier cookbook revision"
"""Cells whose running batch is stated nowhere and is not what the others' would be."""


@pytest.fixture(scope="module")
def result() -> Validation:
    return validate(load_points(POINTS), load_constants())


@pytest.fixture(scope="module")
def left_out() -> Validation:
    constants = load_constants()
    cases, _ = cases_of(load_points(POINTS), constants)
    return summarize(leave_one_cell_out(fitted_cases(cases, constants), constants), [])


def of_mixtures(cell: Cell) -> bool:
    return "gpt-oss" in cell.model


def test_every_row_is_predicted_or_left_out_with_a_reason(result: Validation) -> None:
    assert result.predicted + len(result.unsupported) == result.rows
    assert all(row.reason for row in result.unsupported)
    assert sum(cell.n for cell in result.cells) == result.predicted > 340


@pytest.mark.compute
def test_each_vllm_cell_left_out(left_out: Validation) -> None:
    assert len(left_out.cells) == 5
    for cell in left_out.cells:
        assert cell.mape_tpot is not None
        assert cell.mape_tpot <= (15 if of_mixtures(cell) else 9), cell
        assert cell.median_ape_ttft is not None
        assert cell.median_ape_ttft <= 25, cell
        assert cell.in_band is not None
        assert cell.in_band >= 0.75, cell


@pytest.mark.compute
def test_dense_cells_left_out_on_average(left_out: Validation) -> None:
    dense = [c for c in left_out.cells if not of_mixtures(c)]
    rows = sum(c.n for c in dense)
    assert sum(c.n * (c.mape_tpot or 0) for c in dense) / rows <= 8


def test_hybrids_that_no_constant_was_fitted_to(result: Validation) -> None:
    hybrids = [c for c in result.cells if c.engine == "sglang"]
    rows = sum(c.n for c in hybrids)
    assert sum(c.n * (c.mape_tpot or 0) for c in hybrids) / rows <= 10
    assert sum(c.n * (c.mape_throughput or 0) for c in hybrids) / rows <= 10
    for cell in hybrids:
        if (cell.model, cell.gpu) not in WORST and EARLIER not in cell.model:
            assert cell.mape_tpot is not None
            assert cell.mape_tpot <= 10, cell


@pytest.mark.compute
def test_the_packaged_constants_are_those_of_the_fit() -> None:
    constants = load_constants()
    cases, _ = cases_of(load_points(POINTS), constants)
    fitted = fit_shared(fitted_cases(cases, constants), constants).values
    host = next(c for c in constants.calibration if c.name == "vllm")
    for name in PRIOR:
        packaged = getattr(constants.step, name, None) or getattr(host, name)
        assert packaged == pytest.approx(fitted[name], rel=0.02), name


def test_a_tpot_faster_than_memory_is_left_out(result: Validation) -> None:
    assert any("memory bandwidth" in row.reason for row in result.unsupported)
