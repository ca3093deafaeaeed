"""GEMM latencies by shape: the tables' own values on the grid, sensible ones between and beyond."""

import numpy as np
import pytest

from headrace.perf.gemm import gemm_seconds, has_gemm

B200 = ("B200", "fp8")


def test_grid_points_are_the_tables_own() -> None:
    at, beside = gemm_seconds(*B200, 8192, 8192), gemm_seconds(*B200, 8200, 8192)
    assert beside == pytest.approx(at, rel=0.01)


def test_a_wider_matrix_between_grid_points_lies_between() -> None:
    low, between, high = (gemm_seconds(*B200, n, 8192) for n in (4096, 5120, 6144))
    assert np.all((between >= np.minimum(low, high)) & (between <= np.maximum(low, high)))


def test_beyond_the_grid_time_grows_with_the_matrix() -> None:
    last, twice = gemm_seconds(*B200, 51_200, 8192), gemm_seconds(*B200, 102_400, 8192)
    assert twice == pytest.approx(2 * last)


def test_below_the_grid_a_launch_remains() -> None:
    assert np.all(gemm_seconds(*B200, 16, 4096) > 1e-6)


def test_tables_that_timed_the_host_are_not_there() -> None:
    """vLLM's block-FP8 rows take 150 us at their quickest on B200; SGLang's stand in for them."""
    assert gemm_seconds("B200", "fp8_block", 2048, 2048)[0] < 20e-6
    assert not has_gemm("L40S", "fp8_block")
    assert not has_gemm("H100", "nvfp4")
