"""A head and its placer: a small program that starts the agents, or fails, or only waits."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from headrace.errors import HeadraceError
from headrace.node.job import NodeJob, PlacerSpec
from headrace.targets.local.fleet import start, stop, wait_ready
from headrace.targets.parts import head_job
from headrace.targets.places import node_names
from tests.integration.fleet_fixtures import run_dir
from tests.integration.jobs import processes_of, wait_for
from tests.integration.nodes import simulated_plan

pytestmark = pytest.mark.integration
__all__ = ["run_dir"]

WAITS = "print('the queue is long', flush=True); import time; time.sleep(600)"
REFUSES = "import sys; sys.exit('error: no such partition')"


def job_with(program: str, run_dir: Path, folder: Path) -> NodeJob:
    plan = simulated_plan(folder, 2, 1)
    job = head_job(plan, run_dir, node_names(plan))
    assert job.coordinator is not None
    placer = PlacerSpec(argv=[sys.executable, "-c", program], log=run_dir / "logs" / "placer.log")
    coordinator = job.coordinator.model_copy(update={"placer": placer})
    return job.model_copy(update={"coordinator": coordinator})


def test_a_placer_that_fails_fails_the_fleet_in_its_own_words(run_dir: Path, tmp_path: Path):
    fleet = start(job_with(REFUSES, run_dir, tmp_path), attached=True)
    with pytest.raises(HeadraceError, match="its node was not placed: no such partition"):
        wait_ready(fleet)
    assert processes_of(run_dir) == []


def test_what_it_says_is_shown_and_a_stop_ends_it(run_dir: Path, tmp_path: Path):
    fleet = start(job_with(WAITS, run_dir, tmp_path), attached=False)
    assert wait_for(lambda: "the queue is long" in str(fleet.deployment()))
    stop(fleet)
    assert processes_of(run_dir) == []


def test_it_ends_when_the_head_is_killed(run_dir: Path, tmp_path: Path):
    fleet = start(job_with(WAITS, run_dir, tmp_path), attached=False)
    assert wait_for(lambda: "the queue is long" in str(fleet.deployment()))
    os.kill(fleet.entry.agent_pid, signal.SIGKILL)
    assert wait_for(lambda: not processes_of(run_dir)), processes_of(run_dir)
    stop(fleet)
