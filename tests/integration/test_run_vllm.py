"""`headrace run` on real vLLM: the same verb, the same files, the version in the report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from headrace.spec.recipes import recipe_text
from tests.integration.jobs import processes_of, wait_for
from tests.integration.summaries import measured
from tests.integration.test_run import assert_refused, headrace
from tests.integration.vllm_environment import tiny_model, vllm_executable

pytestmark = [pytest.mark.integration, pytest.mark.vllm]
__all__ = ["tiny_model", "vllm_executable"]


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HEADRACE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HEADRACE_TEST_RUN", str(tmp_path))
    yield
    assert wait_for(lambda: not processes_of(tmp_path)), processes_of(tmp_path)


def fleet_with(model: Path, folder: Path) -> Path:
    document = yaml.safe_load(recipe_text("tiny-qwen35-cpu"))
    document["model"] = str(model)
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def test_the_real_engine_recipe(tiny_model: Path, tmp_path: Path) -> None:
    fleet, run_dir = fleet_with(tiny_model, tmp_path), tmp_path / "out"
    done = headrace(
        "run", fleet, "--requests", 24, "-o", run_dir, "--json", cwd=tmp_path, timeout_s=400
    )
    summary = measured(done)
    assert summary["engine"] == "vllm 0.32.0"
    assert summary["requests"]["failed"] == 0
    assert summary["requests"]["completed"] > 20
    page = (run_dir / "report.html").read_text()
    assert "0.32.0" in page
    assert "imulated" not in page.split("</title>")[0]


def test_a_replica_that_dies_while_loading(tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "no-weights"
    shutil.copytree(tiny_model, broken, ignore=shutil.ignore_patterns("*.safetensors*"))
    fleet = fleet_with(broken, tmp_path)
    done = headrace("run", fleet, "-o", tmp_path / "out", cwd=tmp_path, timeout_s=400)
    assert_refused(done, 1, "replica r0 failed", "weights", "r0.log")
    assert not (tmp_path / "out" / "summary.json").exists()
