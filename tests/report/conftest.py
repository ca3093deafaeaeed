from pathlib import Path

import pytest

from tests.report.synthetic import REAL, SMALL, write_run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made-up runs; copy one before changing it."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "simulated", SMALL)
    write_run(folder / "real", REAL)
    write_run(folder / "bench", REAL, plan=False)
    return folder
