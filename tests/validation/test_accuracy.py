"""The model's errors on the published vLLM points, guarded per cell.

The constants of `perf/constants.toml` [step] and its host tables were fitted to these cells: these
are the errors of a fit, not of a forecast.
"""

from pathlib import Path

import pytest

from headrace.perf.constants import load_constants
from headrace.validation.cells import Validation, validate
from headrace.validation.points import load_points

POINTS = Path(__file__).parent.parent / "data" / "points.csv"


@pytest.fixture(scope="module")
def result() -> Validation:
    return validate(load_points(POINTS), load_constants())


def test_every_row_is_predicted_or_left_out_with_a_reason(result: Validation) -> None:
    assert result.predicted + len(result.unsupported) == result.rows
    assert all(row.reason for row in result.unsupported)
    assert sum(cell.n for cell in result.cells) == result.predicted > 300


def test_errors_by_cell(result: Validation) -> None:
    for cell in result.cells:
        assert cell.mape_tpot is not None
        assert cell.mape_tpot < 10, cell
        assert cell.median_ape_ttft is not None
        assert cell.median_ape_ttft < 26, cell
        assert cell.in_band is not None
        assert cell.in_band > 0.75, cell


def test_errors_over_all(result: Validation) -> None:
    assert result.mape_tpot is not None
    assert result.mape_tpot < 8


def test_a_tpot_faster_than_memory_is_left_out(result: Validation) -> None:
    assert any("memory bandwidth" in row.reason for row in result.unsupported)
