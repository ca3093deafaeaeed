"""The simulator and the simulated engine over HTTP give the same figures."""

from types import ModuleType

import pytest

from tests.scripts import load_script

pytestmark = [pytest.mark.integration, pytest.mark.alone]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load_script("benchmarks/simulator_vs_engine.py")


def test_same_load_same_figures(benchmark):
    """Wide limits: the machine is shared, and five seconds hold few requests. The benchmark's are
    narrow."""
    case = next(case for case in benchmark.cases() if case.name == "closed, no drafts")
    compared = benchmark.compare(case, 5.0, seed=1, http_s=0.0)
    total, tpot, *_ = compared.off
    assert abs(total) < 0.15
    assert abs(tpot) < 0.10
