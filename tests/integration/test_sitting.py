"""benchmarks/gpu/sitting.py on simulated GPUs: the course of a sitting, not its figures."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headrace.report.data import load_run
from tests.tuner.options import fleet

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
SITTING = ROOT / "benchmarks" / "gpu" / "sitting.py"
COURSE = SITTING.with_name("course.sh")
LOAD = {"input_tokens": 64, "output_tokens": 16}


def test_one_engine_serves_several_loads_and_a_late_one_is_ended(tmp_path: Path):
    document = fleet().model_dump(mode="json", exclude_none=True)
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(document))
    both = {
        "name": "both",
        "fleet": "fleet.yaml",
        "args": {"stream_interval": 2, "tensor_parallel_size": 1},
        "load_format": "dummy",
        "hardware": {"gpus_per_node": 2},
        "gateway": "least-request",
        "limit_s": 120,
        "loads": [
            {**LOAD, "concurrency": 8, "duration_s": 2},
            {**LOAD, "concurrency": 4, "duration_s": 1},
            {**LOAD, "concurrency": 8, "refill": 4, "direct": True, "duration_s": 1},
        ],
    }
    late = {**both, "name": "late", "limit_s": 1}
    beside = {**both, "name": "beside", "gpus": "0,1", "loads": both["loads"][1:2]}
    after = {**beside, "name": "after"}
    both["cpus"] = f"{min(os.sched_getaffinity(0))}"
    other = {"name": "other", "command": ["touch", "{out}/touched"], "after_s": 1, "limit_s": 60}
    left_out = [
        {**both, "name": "no-time", "needs_s": 9999},
        {**both, "name": "b", "unless": "both"},
        {**both, "name": "c", "only_with": "late"},
    ]
    forget = {"forget_tuning": True}
    plan = {"configurations": [[both, [beside, after], other], forget, late, *left_out]}
    tuned, compiled = tmp_path / ".triton/a.autotune.json", tmp_path / ".triton/a.cubin"
    for path in (tuned, compiled):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "sitting.yaml").write_text(yaml.safe_dump(plan))
    done = subprocess.run(
        [sys.executable, SITTING, tmp_path / "sitting.yaml", tmp_path / "out", "--processes", "1"],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert compiled.exists()
    assert not tuned.exists()
    assert "no-time: left out" in done.stdout
    assert "b: left out, there is both" in done.stdout
    assert "c: left out, there is no late" in done.stdout
    assert (tmp_path / "out" / "touched").exists()
    assert "late: at its limit, stopping" in done.stdout
    assert done.stdout.rstrip().endswith("sitting over")

    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    loads = [(one["configuration"], one["load"]) for one in map(json.loads, lines)]
    assert sorted(loads) == [
        ("after", "load-64-16-c4"),
        ("beside", "load-64-16-c4"),
        ("both", "load-64-16-c4"),
        ("both", "load-64-16-c8"),
        ("both", "load-64-16-c8-by4-direct"),
    ]
    assert done.stdout.index("beside: ended") < done.stdout.index("after: begins")
    direct = load_run(tmp_path / "out" / "both" / "load-64-16-c8-by4-direct")
    assert direct.summary is not None
    assert direct.summary.per_replica == {}
    for name in ("load-64-16-c8", "load-64-16-c4"):
        run = load_run(tmp_path / "out" / "both" / name)
        assert run.simulated
        assert run.plan is not None
        assert run.plan.chosen.engine_args["stream_interval"] == 2
        assert run.plan.chosen.engine_args["load_format"] == "dummy"
        assert run.plan.chosen.layout.replicas == 2
    used = json.loads((tmp_path / "out/both/load-64-16-c8/processors.json").read_text())
    assert used["by_process"]["envoy"]["cpu_s"] > 0
    phases = json.loads((tmp_path / "out" / "both" / "startup.json").read_text())
    assert phases[-1]["phase"] == "ready"
    readings = (tmp_path / "out" / "both" / "load-64-16-c8" / "engine.jsonl").read_text()
    assert json.loads(readings.splitlines()[-1])["generation_tokens"] > 0


def test_a_course_holds_sittings_in_the_background_and_its_end_is_seen(tmp_path: Path):
    bundle, out, results = tmp_path / "bundle", tmp_path / "out", tmp_path / "results"
    for name in ("bin/headrace", "env/bin/python3"):
        (bundle / name).parent.mkdir(parents=True)
        (bundle / name).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (bundle / name).chmod(0o755)
    (bundle / "unpack.sh").write_text('export PATH="$bundle/bin:$PATH"\n')
    sittings = []
    for name in ("first", "second"):
        command = {"name": name, "command": ["touch", f"{{out}}/{name}"], "limit_s": 60}
        sittings.append(tmp_path / f"{name}.yaml")
        sittings[-1].write_text(yaml.safe_dump({"configurations": [command]}))
    subprocess.run(["bash", COURSE, bundle, out, "300", *sittings], check=True, timeout=60)
    follow = ["bash", COURSE.with_name("follow.sh"), out, "60", results]
    done = subprocess.run(follow, capture_output=True, text=True, check=True, timeout=120)
    assert "course over" in done.stdout
    assert (out / "first").exists()
    assert (out / "second").exists()
    assert (results / "results.tar.xz.00").stat().st_size > 0


def test_a_bundle_that_is_cut_off_is_not_unpacked(tmp_path: Path):
    (tmp_path / "part.00").write_bytes(b"all of it")
    digest = hashlib.sha256(b"all of it").hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  part.00\n")
    shutil.copy(ROOT / "scripts" / "offline_unpack.sh", tmp_path / "unpack.sh")
    (tmp_path / "part.00").write_bytes(b"half")
    environment = {**os.environ, "HEADRACE_BUNDLE": str(tmp_path / "there")}
    command = ["bash", COURSE, tmp_path, tmp_path / "out", "300", "any.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "is not whole: copy the bundle there again" in done.stderr
    assert not (tmp_path / "there").exists()
    assert not (tmp_path / "out" / "sitting.log").exists()


def test_an_interrupted_sitting_begins_nothing_more(tmp_path: Path):
    long = {"name": "long", "command": ["sleep", "60"], "limit_s": 90}
    later = {"name": "later", "command": ["touch", "{out}/touched"], "after_s": 20, "limit_s": 60}
    path = tmp_path / "sitting.yaml"
    path.write_text(yaml.safe_dump({"configurations": [[long, later]]}))
    command = [sys.executable, SITTING, path, tmp_path / "out"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sitting:
        assert sitting.stdout is not None
        assert "long: begins" in sitting.stdout.readline()
        sitting.send_signal(signal.SIGINT)
        said = sitting.stdout.read()
    assert sitting.returncode != 0
    assert "later" not in said
    assert not (tmp_path / "out" / "touched").exists()
