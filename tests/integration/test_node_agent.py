from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.errors import HeadraceError
from headrace.targets.local.fleet import RunningFleet, start, stop, wait_ready
from tests.integration.fleet_fixtures import run_dir
from tests.integration.jobs import processes_of, tiny_job, wait_for

pytestmark = pytest.mark.integration
__all__ = ["run_dir"]

CALLER = """
import sys, time
from pathlib import Path
from headrace.targets.local.fleet import start, wait_ready
from tests.integration.jobs import tiny_job
folder = Path(sys.argv[1])
fleet = start(tiny_job(folder, 2, "--grandchild", "--load-s", sys.argv[2]), attached=True)
print("started", flush=True)
wait_ready(fleet)
print("ready", flush=True)
time.sleep(100)
"""


def caller(folder: Path, load_s: float) -> subprocess.Popen[bytes]:
    """Another process with an attached fleet; in its own session, as if in a terminal."""
    command = [sys.executable, "-c", CALLER, str(folder), str(load_s)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, start_new_session=True)


def wait_for_word(process: subprocess.Popen[bytes], word: bytes) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


def test_nothing_outlives_an_agent_that_is_killed(run_dir: Path):
    fleet = start(tiny_job(run_dir, 2, "--grandchild"), attached=False)
    wait_ready(fleet)
    assert sum("sleep 1000.25" in command for command in processes_of(run_dir)) == 2
    os.kill(fleet.entry.agent_pid, signal.SIGKILL)
    assert wait_for(lambda: not processes_of(run_dir)), processes_of(run_dir)
    last = stop(fleet)
    assert last is not None
    assert [(r.state, r.detail) for r in last.replicas] == [("failed", "its agent was killed")] * 2


def test_a_stubborn_program_does_not_outlive_its_agent_either(run_dir: Path):
    fleet = start(tiny_job(run_dir, 1, "--stubborn", "--grandchild"), attached=False)
    wait_ready(fleet)
    os.kill(fleet.entry.agent_pid, signal.SIGKILL)
    assert wait_for(lambda: not processes_of(run_dir)), processes_of(run_dir)
    stop(fleet)


def test_nothing_outlives_a_caller_that_is_killed(run_dir: Path):
    process = caller(run_dir, 0.0)
    wait_for_word(process, b"started")
    wait_for_word(process, b"ready")
    process.kill()
    process.communicate()
    assert wait_for(lambda: not processes_of(run_dir)), processes_of(run_dir)


def test_ctrl_c_while_loading_leaves_nothing(run_dir: Path):
    process = caller(run_dir, 60.0)
    wait_for_word(process, b"started")
    assert wait_for(lambda: any("sleep 1000.25" in c for c in processes_of(run_dir)))
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert processes_of(run_dir) == []


def test_a_grandchild_ends_with_a_program_that_is_killed(run_dir: Path):
    fleet = start(tiny_job(run_dir, 1, "--grandchild"), attached=True)
    with fleet:
        (replica,) = wait_ready(fleet).replicas
        assert replica.pid is not None
        os.kill(replica.pid, signal.SIGKILL)
        assert wait_for(lambda: state(fleet) == "failed")
        assert not [c for c in processes_of(run_dir) if "sleep" in c or "tiny_server" in c]


def test_a_program_that_dies_while_loading_fails_with_its_reason(run_dir: Path):
    fleet = start(tiny_job(run_dir, 2, first_only=("--die",)), attached=True)
    with pytest.raises(HeadraceError, match=r"replica r0 failed: .*no such model") as caught:
        wait_ready(fleet)
    assert caught.value.hint == f"its log: {run_dir}/logs/r0.log"
    assert processes_of(run_dir) == []


def test_a_program_that_is_not_there_fails_with_its_reason(run_dir: Path):
    job = tiny_job(run_dir, 1)
    missing = job.processes[0].model_copy(update={"argv": ["/no/such/engine"]})
    fleet = start(job.model_copy(update={"processes": [missing]}), attached=True)
    with pytest.raises(HeadraceError, match="cannot start /no/such/engine: No such file"):
        wait_ready(fleet)


def test_a_replica_that_never_answers_is_given_up(run_dir: Path):
    fleet = start(tiny_job(run_dir, 1, "--sick", start_timeout_s=1.5), attached=True)
    with pytest.raises(HeadraceError, match=r"replica r0 failed: not ready after 1.5 s"):
        wait_ready(fleet)


def test_a_program_that_will_not_drain_is_killed(run_dir: Path):
    fleet = start(tiny_job(run_dir, 1, "--stubborn", drain_timeout_s=0.5), attached=True)
    wait_ready(fleet)
    begun = time.monotonic()
    last = stop(fleet)
    assert last is not None
    assert [(r.state, r.detail) for r in last.replicas] == [
        ("stopped", "killed: it did not end in time")
    ]
    assert time.monotonic() - begun > 0.5


def test_a_second_signal_makes_the_agent_hurry(run_dir: Path):
    fleet = start(tiny_job(run_dir, 1, "--stubborn", drain_timeout_s=1000), attached=True)
    wait_ready(fleet)
    os.kill(fleet.entry.agent_pid, signal.SIGTERM)
    assert wait_for(lambda: state(fleet) == "draining")
    os.kill(fleet.entry.agent_pid, signal.SIGTERM)
    assert wait_for(lambda: not fleet.alive(), 20)
    stop(fleet)


def test_logs_begin_with_the_command_and_hold_no_environment(run_dir: Path):
    job = tiny_job(run_dir, 1)
    spec = job.processes[0].model_copy(update={"env": {"MY_TOKEN": "sesame"}})
    with start(job.model_copy(update={"processes": [spec]}), attached=True) as fleet:
        wait_ready(fleet)
    text = spec.log.read_text()
    assert text.startswith("# 20")
    assert "tiny_server.py --port" in text.splitlines()[0]
    assert "sesame" not in text


def state(fleet: RunningFleet) -> str | None:
    now = fleet.deployment()
    return now.replicas[0].state if now else None
