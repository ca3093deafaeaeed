"""`headrace run` without arguments: the plan is kept, and the machine is measured by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.test_run import headrace, nothing_left

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.usefixtures("nothing_left")]
__all__ = ["nothing_left"]


def test_the_main_job(tmp_path: Path) -> None:
    """No arguments: a node of eight simulated B200 at its planned rate (two minutes)."""
    done = headrace("run", "--json", "-o", tmp_path / "out", cwd=tmp_path, timeout_s=300)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["valid"]
    assert summary["requests"]["failed"] == 0
    assert summary["throughput"]["output_tok_s"] >= 28_000
    assert summary["plan"]["total_tok_s_ratio"] == pytest.approx(1, abs=0.05)
