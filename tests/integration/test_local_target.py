from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import HeadraceError, InputError
from headrace.targets.deployment import Deployment
from headrace.targets.local import registry
from headrace.targets.local.fleet import start, stop, wait_ready
from tests.integration.fleet_fixtures import run_dir
from tests.integration.jobs import processes_of, tiny_job
from tests.integration.traces import left_behind, traces_of

pytestmark = pytest.mark.integration
__all__ = ["run_dir"]


def headrace(*words: str, folder: Path = Path("/")) -> subprocess.CompletedProcess[str]:
    """The command as a user in another folder types it."""
    command = [sys.executable, "-c", "from headrace.cli.main import main; main()", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def document(answer: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert answer.returncode == 0, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_up_status_logs_down_from_another_folder(run_dir: Path, tmp_path: Path):
    fleet = start(tiny_job(run_dir, 2, name="mine"), attached=False)
    wait_ready(fleet)
    found = document(headrace("status", "--json"))
    assert [(r["id"], r["state"]) for r in found["replicas"]] == [("r0", "ready"), ("r1", "ready")]
    assert found["fleet"] == "mine"
    assert found["gateway"]["url"].startswith("http://127.0.0.1:")
    assert "ready" in headrace("status", "mine").stderr
    assert "r1: phase: serving" in headrace("logs").stdout
    only = headrace("logs", "mine", "--replica", "r1", "--tail", "1")
    assert only.stdout == "phase: serving\n"
    traces = traces_of(run_dir)
    assert len(traces.ports) == 4, "two replicas, the gateway and its metrics"
    down = headrace("down", "--json")
    assert "stopping fleet mine" in down.stderr
    assert {replica["state"] for replica in document(down)["replicas"]} == {"stopped"}
    assert not fleet.alive()
    assert left_behind(traces, tmp_path / "state") == []
    gone = headrace("status", "mine")
    assert gone.returncode == 2
    assert "no fleet is called 'mine'" in gone.stderr


def test_a_second_fleet_of_the_name_is_refused_with_what_to_do(run_dir: Path, tmp_path: Path):
    fleet = start(tiny_job(run_dir, 1), attached=False)
    wait_ready(fleet)
    try:
        with pytest.raises(InputError, match="'tiny' is running already") as caught:
            start(tiny_job(tmp_path / "other", 1), attached=False)
        assert caught.value.hint == "stop it with: headrace down tiny"
    finally:
        stop(fleet)


def test_a_run_beside_a_fleet_of_its_name_takes_another(run_dir: Path, tmp_path: Path):
    with start(tiny_job(run_dir, 1), attached=False) as first:
        wait_ready(first)
        beside = tmp_path / "other"
        with start(tiny_job(beside, 1), attached=True) as second:
            wait_ready(second)
            assert second.entry.name == f"tiny-{second.entry.agent_pid}"
            names = headrace("status")
            assert names.returncode == 2
            assert f"running: tiny, {second.entry.name}" in names.stderr
            for words in (("down",), ("scale", "0")):
                refused = headrace(*words)
                assert (refused.returncode, refused.stdout) == (2, "")
                assert "more than one fleet runs" in refused.stderr
            assert len(registry.running()) == 2
    assert registry.entries() == []


def test_an_unknown_fleet_or_replica_is_told_what_there_is(run_dir: Path):
    with start(tiny_job(run_dir, 1), attached=False) as fleet:
        wait_ready(fleet)
        for verb in ("status", "logs", "down"):
            answer = headrace(verb, "other")
            assert answer.returncode == 2
            assert "running: tiny" in answer.stderr
        answer = headrace("logs", "--replica", "r9")
        assert answer.returncode == 2
        assert "choose one of: r0" in answer.stderr


def test_a_killed_agent_is_reported_once_and_forgotten(run_dir: Path):
    fleet = start(tiny_job(run_dir, 1), attached=False)
    wait_ready(fleet)
    os.kill(fleet.entry.agent_pid, signal.SIGKILL)
    assert fleet.process is not None
    fleet.process.wait()
    found = document(headrace("status", "tiny", "--json"))
    assert found["replicas"][0]["detail"] == "its agent was killed"
    assert processes_of(run_dir) == []
    assert headrace("status", "tiny").returncode == 2


def test_a_gateway_port_that_gets_busy_is_one_clear_error(run_dir: Path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        fleet = start(tiny_job(run_dir, 1, gateway_port=port), attached=True)
        with pytest.raises(HeadraceError, match=rf"address 127.0.0.1:{port} is busy"):
            wait_ready(fleet)
    assert processes_of(run_dir) == []


def test_every_change_of_state_is_shown(run_dir: Path):
    seen: list[Deployment] = []
    fleet = start(tiny_job(run_dir, 1, "--load-s", "0.5"), attached=True)
    wait_ready(fleet, on_change=seen.append)
    stop(fleet, on_change=seen.append)
    states = [deployment.replicas[0].state for deployment in seen]
    assert states[0] == "starting"
    assert states[-1] in ("ready", "draining", "stopped")
    assert "ready" in states


def test_an_agent_that_breaks_says_why(run_dir: Path):
    fleet = start(tiny_job(run_dir, 1), attached=True)
    os.kill(fleet.entry.agent_pid, signal.SIGKILL)
    with pytest.raises(HeadraceError, match="the agent of fleet 'tiny' ended") as caught:
        wait_ready(fleet)
    assert caught.value.hint == f"its log: {run_dir}/logs/agent.log"
