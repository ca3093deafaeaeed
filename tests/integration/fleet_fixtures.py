"""A run folder whose processes can be told apart, and that leaves none behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.jobs import processes_of, wait_for


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test ends with the same question: is a process left?"""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("HEADRACE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HEADRACE_TEST_RUN", str(folder))
    yield folder
    assert wait_for(lambda: not processes_of(folder)), processes_of(folder)
