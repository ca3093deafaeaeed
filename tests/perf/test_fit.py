"""Robust least squares finds what made the data, wrong rows among it."""

import numpy as np
import pytest

from headrace.perf.fit import fit, independent, jacobian
from headrace.perf.gemm import Floats

TOKENS = np.geomspace(1, 1000, 40)
TRUE = np.array([2.0, 0.5])


def time_s(x: Floats) -> Floats:
    return np.asarray(x[0] + x[1] * TOKENS)


def residuals(x: Floats, measured: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(time_s(x), 1e-9) / measured))


def test_it_finds_both_constants() -> None:
    found = fit(lambda x: residuals(x, time_s(TRUE)), np.ones(2))
    assert found == pytest.approx(TRUE, rel=1e-3)


def test_a_few_wrong_rows_do_not_carry_it_away() -> None:
    measured = time_s(TRUE)
    measured[::10] *= 3
    assert fit(lambda x: residuals(x, measured), np.ones(2)) == pytest.approx(TRUE, rel=0.05)


def test_constants_do_not_become_negative() -> None:
    found = fit(lambda x: np.array([x[0] + 5.0, x[1] - 1.0]), np.ones(2))
    assert found[0] == 0.0
    assert found[1] == pytest.approx(1.0, abs=1e-3)


def test_it_knows_what_the_data_cannot_tell_apart() -> None:
    def same(x: Floats) -> Floats:
        return np.asarray((x[0] + x[1]) * TOKENS / TOKENS)

    start = np.ones(2)
    assert not independent(jacobian(same, start, same(start)), 0.02)

    def apart(x: Floats) -> Floats:
        return residuals(x, time_s(TRUE))

    assert independent(jacobian(apart, start, apart(start)), 0.02)
