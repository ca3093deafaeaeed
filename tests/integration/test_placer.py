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
from tests.targets.planned import planned

pytestmark = pytest.mark.integration
__all__ = ["run_dir"]

WAITS = "print('the queue is long', flush=True); import time; time.sleep(600)"
REFUSES = "import sys; sys.exit('error: no such partition')"


def job_with(program: str, run_dir: Path, folder: Path) -> NodeJob:
    plan = simulated_plan(folder, 2, 1)
    return placed(head_job(plan, run_dir, node_names(plan)), [program])


def placed(job: NodeJob, program: list[str]) -> NodeJob:
    assert job.coordinator is not None
    placer = PlacerSpec(
        argv=[sys.executable, "-c", *program], log=job.run_dir / "logs" / "placer.log"
    )
    coordinator = job.coordinator.model_copy(update={"placer": placer})
    return job.model_copy(update={"coordinator": coordinator})


def test_a_placer_that_fails_fails_the_fleet_in_its_own_words(run_dir: Path, tmp_path: Path):
    fleet = start(job_with(REFUSES, run_dir, tmp_path), attached=True)
    with pytest.raises(HeadraceError, match="its node was not placed: no such partition"):
        wait_ready(fleet)
    assert processes_of(run_dir) == []


AGENT = """
import os, pathlib, sys
from headrace.node.job import Link
from headrace.targets.parts import assignments, coordinator_url, token_path
from headrace.targets.places import node_names
from tests.targets.planned import planned
run = pathlib.Path(sys.argv[1])
link = Link(url=coordinator_url(run, lambda: True), token_file=token_path(run))
plan = planned({"kind": "slurm"}, nodes=2)
engine = plan.fleet.engine.model_copy(update={"kind": "vllm", "executable": "/none/vllm"})
plan = plan.model_copy(update={"fleet": plan.fleet.model_copy(update={"engine": engine})})
part = assignments(plan, node_names(plan), link, lambda n: run / n, lambda _: "127.0.0.1")[0]
(run / "part.json").write_text(part.model_dump_json())
agent = [sys.executable, "-m", "headrace.node.agent", "--assignment", str(run / "part.json")]
os.execv(sys.executable, agent)
"""


def test_an_agent_that_cannot_begin_tells_its_head_why(run_dir: Path):
    """Not even the program is there: known on the node alone."""
    plan = planned({"kind": "slurm"}, nodes=2)
    job = placed(head_job(plan, run_dir, node_names(plan)), [AGENT, str(run_dir)])
    with pytest.raises(
        HeadraceError, match=r"replica r[01] failed: .*/none/vllm: there is no such"
    ):
        wait_ready(start(job, attached=True))


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
