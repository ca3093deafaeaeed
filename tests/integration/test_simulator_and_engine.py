"""The simulator and the simulated engine over HTTP give the same figures."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.alone]

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "simulator_vs_engine.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulator_vs_engine", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_same_load_same_figures(benchmark):
    """Wide limits: the machine is shared, and five seconds hold few requests. The benchmark's are
    narrow."""
    case = next(case for case in benchmark.cases() if case.name == "closed, no drafts")
    compared = benchmark.compare(case, 5.0, seed=1, http_s=0.0)
    total, tpot, *_ = compared.off
    assert abs(total) < 0.15
    assert abs(tpot) < 0.10
