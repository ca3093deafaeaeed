"""The autoscaler against a real fleet: it grows under load and shrinks after it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.node.wanted import ask
from headrace.targets.local.fleet import RunningFleet, start, wait_ready
from headrace.targets.local.job import plan_job
from tests.integration.fleet_fixtures import run_dir
from tests.integration.jobs import wait_for
from tests.integration.nodes import simulated_plan
from tests.integration.streams import Load

pytestmark = pytest.mark.integration
__all__ = ["run_dir"]


def test_replicas_follow_the_load(run_dir: Path, tmp_path: Path):
    plan = simulated_plan(tmp_path, 1, 3, name="auto")
    (run_dir / "plan.json").write_text(plan.model_dump_json())
    with start(plan_job(plan, run_dir, processes=3), attached=True) as fleet:
        (url,) = wait_ready(fleet).urls
        ask(run_dir, replicas=1)
        assert wait_for(lambda: serving(fleet) == 1)
        options = ["--every", "0.5", "--hold-down", "2", "--in-flight", "4"]
        command = [sys.executable, "-c", "from headrace.cli.main import main; main()"]
        scaler = subprocess.Popen([*command, "autoscale", *options], stderr=subprocess.PIPE)
        asked = {"model": plan.model, "prompt": [1, 2], "max_tokens": 100, "stream": True}
        try:
            with Load(url, json.dumps(asked), streams=12) as load:
                assert wait_for(lambda: serving(fleet) == 3, 60)
            assert wait_for(lambda: serving(fleet) == 1, 60)
        finally:
            scaler.send_signal(signal.SIGINT)
            _, said = scaler.communicate(timeout=60)
    assert all(timed.good for timed in load.done)
    assert b"replicas: 3, since 1" in said
    assert b"replicas: 1, since 0 requests expected in flight" in said


def serving(fleet: RunningFleet) -> int:
    now = fleet.deployment()
    return sum(r.state == "ready" for r in now.replicas) if now else 0
