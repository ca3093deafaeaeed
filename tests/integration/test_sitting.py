"""benchmarks/gpu/sitting.py on simulated GPUs: the course of a sitting, not its figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headrace.report.data import load_run
from tests.tuner.options import fleet

pytestmark = pytest.mark.integration
SITTING = Path(__file__).parents[2] / "benchmarks" / "gpu" / "sitting.py"
LOAD = {"input_tokens": 64, "output_tokens": 16}


def test_one_engine_serves_several_loads_and_a_late_one_is_ended(tmp_path: Path):
    document = fleet().model_dump(mode="json", exclude_none=True)
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(document))
    both = {
        "name": "both",
        "fleet": "fleet.yaml",
        "args": {"stream_interval": 2, "tensor_parallel_size": 1},
        "hardware": {"gpus_per_node": 2},
        "gateway": "least-request",
        "limit_s": 120,
        "loads": [
            {**LOAD, "concurrency": 8, "duration_s": 2},
            {**LOAD, "concurrency": 4, "duration_s": 1},
        ],
    }
    late = {**both, "name": "late", "limit_s": 1}
    beside = {**both, "name": "beside", "gpus": "0,1", "loads": both["loads"][1:]}
    plan = {"configurations": [[both, beside], late, {**both, "name": "no-time", "needs_s": 9999}]}
    (tmp_path / "sitting.yaml").write_text(yaml.safe_dump(plan))
    done = subprocess.run(
        [sys.executable, SITTING, tmp_path / "sitting.yaml", tmp_path / "out", "--processes", "1"],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert "no-time: left out" in done.stdout
    assert "late: at its limit, stopping" in done.stdout
    assert done.stdout.rstrip().endswith("sitting over")

    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    loads = [(one["configuration"], one["load"]) for one in map(json.loads, lines)]
    assert sorted(loads) == [
        ("beside", "load-64-16-c4"),
        ("both", "load-64-16-c4"),
        ("both", "load-64-16-c8"),
    ]
    for name in ("load-64-16-c8", "load-64-16-c4"):
        run = load_run(tmp_path / "out" / "both" / name)
        assert run.simulated
        assert run.plan is not None
        assert run.plan.chosen.engine_args["stream_interval"] == 2
        assert run.plan.chosen.layout.replicas == 2
    phases = json.loads((tmp_path / "out" / "both" / "startup.json").read_text())
    assert phases[-1]["phase"] == "ready"
    readings = (tmp_path / "out" / "both" / "load-64-16-c8" / "engine.jsonl").read_text()
    assert json.loads(readings.splitlines()[-1])["generation_tokens"] > 0
