"""`headrace run` as a user types it: real processes, real Envoy, real streams, simulated GPUs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.jobs import processes_of, wait_for
from tests.integration.summaries import measured, rows

pytestmark = pytest.mark.integration

SMALL: dict[str, Any] = {
    "name": "small",
    "model": "Qwen/Qwen3.5-0.8B",
    "hardware": {"gpu": "B200", "gpus_per_node": 2},
    "workload": {"input_tokens": 64, "output_tokens": 32, "concurrency": 32},
    "engine": {"kind": "simulated"},
}
HEADRACE = [sys.executable, "-m", "headrace.cli.main"]


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    return write_fleet(tmp_path, SMALL)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HEADRACE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HEADRACE_TEST_RUN", str(tmp_path))
    yield
    assert wait_for(lambda: not processes_of(tmp_path)), processes_of(tmp_path)


def write_fleet(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "fleet.yaml"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def changed(**parts: dict[str, Any]) -> dict[str, Any]:
    return {**SMALL, **{name: {**SMALL.get(name, {}), **part} for name, part in parts.items()}}


def headrace(*words: object, cwd: Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    command = [*HEADRACE, *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def assert_refused(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    for word in words:
        assert word in " ".join(done.stderr.split())


def test_a_small_fleet_end_to_end(fleet_file: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "out"
    done = headrace("run", fleet_file, "--duration", 3, "-o", run_dir, "--json", cwd=tmp_path)
    summary = measured(done)
    assert summary["engine"] == "simulated"
    assert summary["requests"]["failed"] == 0
    assert summary["requests"]["completed"] > 50
    assert set(summary["per_replica"]) == {"r0", "r1"}
    assert summary["plan"]["total_tok_s_ratio"] > 0
    assert summary["usd_per_million_tokens"] > 0
    for name in ("fleet.yaml", "plan.json", "deployment.json", "records.parquet", "report.html"):
        assert (run_dir / name).stat().st_size > 0
    assert json.loads((run_dir / "summary.json").read_text()) == summary
    states = json.loads((run_dir / "deployment.json").read_text())["replicas"]
    assert {replica["state"] for replica in states} == {"stopped"}
    assert "simulated" in done.stderr
    title = (run_dir / "report.html").read_text().split("</title>")[0]
    assert "imulated" in title


def test_without_a_gateway_clients_spread_over_the_replicas(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path, changed(gateway={"policy": "none"}))
    done = headrace("run", fleet, "--requests", 64, "-o", tmp_path / "out", "--json", cwd=tmp_path)
    assert measured(done)["requests"]["completed"] == 64


def test_requests_follow_so_many_at_a_time_at_every_replica(tmp_path: Path) -> None:
    """Three at each of two servers; of the sixteen places there, one always waits for two more.

    A request takes long beside what a busy machine may cost between two of them.
    """
    alone = {"gateway": {"policy": "none"}, "engine": {"args": {"tensor_parallel_size": 1}}}
    fleet = write_fleet(tmp_path, changed(**alone, workload={"refill": 6, "output_tokens": 256}))
    done = headrace("run", fleet, "--duration", 3, "-o", tmp_path / "out", "--json", cwd=tmp_path)
    summary = measured(done)
    assert summary["concurrency"]["mean"] == pytest.approx(30, rel=0.05)
    assert summary["environment"]["load"]["refill"] == 6
    of_server = "select scheduled_s from FILE where phase = 'measured' and url ="
    for server in (0, 1):
        due_s = np.array(rows(tmp_path / "out", f"{of_server} {server}"))
        beside = np.abs(due_s - due_s.T) < 0.01
        assert np.mean(beside.sum(axis=0) >= 3) > 0.9
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert plan["fleet"]["workload"]["refill"] == 6
    fleet = write_fleet(tmp_path, changed(**alone, workload={"refill": 5}))
    done = headrace("run", fleet, "-o", tmp_path / "none", cwd=tmp_path)
    assert_refused(done, 2, "workload.refill: 5 requests at a time", "a multiple of 2", "refill: 4")
    assert not (tmp_path / "none").exists()


def test_up_is_seen_from_another_shell_refuses_a_second_and_goes_down(
    fleet_file: Path, tmp_path: Path
) -> None:
    started = headrace("up", fleet_file, "-o", tmp_path / "out", "--json", cwd=tmp_path)
    assert started.returncode == 0, started.stderr
    try:
        url = json.loads(started.stdout)["gateway"]["url"]
        status = headrace("status", "--json", cwd=tmp_path.parent)
        assert {r["state"] for r in json.loads(status.stdout)["replicas"]} == {"ready"}
        second = headrace("up", fleet_file, "-o", tmp_path / "other", cwd=tmp_path)
        assert_refused(second, 2, "running already", "headrace down small")
        loaded = headrace(
            *("bench", "--url", url, "--model", SMALL["model"], "--input-tokens", 16),
            *("--output-tokens", 8, "--concurrency", 4, "--requests", 16, "--json"),
            cwd=tmp_path,
        )
        assert measured(loaded)["engine"] == "simulated"
        logs = headrace("logs", "small", cwd=tmp_path)
        assert "simulated" in logs.stdout + logs.stderr
    finally:
        stopped = headrace("down", "small", cwd=tmp_path.parent)
    assert stopped.returncode == 0, stopped.stderr
    assert_refused(headrace("status", "small", cwd=tmp_path), 2, "small")


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "./no-such-folder"}, 2, ["fleet.yaml", "model", "no-such-folder"]),
        ({"hardware": {"gpu": "B2000"}}, 2, ["fleet.yaml:1", "hardware.gpu", "B200"]),
        ({"hardware": {"gpus": 3, "gpu": "B200"}}, 2, ["hardware.gpus", "gpus_per_node"]),
        (
            {"model": "meta-llama/Llama-3.1-405B-Instruct", "hardware": {"gpu": "L40S"}},
            3,
            ["does not fit", "next:", "more memory"],
        ),
    ],
)
@pytest.mark.parametrize("verb", ["plan", "run", "up"])
def test_input_that_cannot_work(
    tmp_path: Path, change: dict[str, Any], status: int, words: list[str], verb: str
) -> None:
    done = headrace(verb, write_fleet(tmp_path, {**SMALL, **change}), cwd=tmp_path)
    assert_refused(done, status, *words)
    assert not (tmp_path / "runs").exists()


def test_a_target_that_run_cannot_start(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path, changed(target={"kind": "kubernetes"}))
    done = headrace("run", fleet, cwd=tmp_path)
    assert_refused(done, 2, "target.kind", "expected local, ray, slurm")


def test_broken_yaml_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("name: x\nmodel: [a\nhardware: {gpu: B200}\n")
    assert_refused(headrace("run", "fleet.yaml", cwd=tmp_path), 2, "fleet.yaml:")


def test_a_busy_gateway_port(fleet_file: Path, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = headrace("run", fleet_file, "--gateway-port", port, cwd=tmp_path)
    assert_refused(done, 2, str(port))


def test_a_full_folder_is_not_overwritten(fleet_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "keep.txt").write_text("mine")
    assert_refused(headrace("run", fleet_file, "-o", out, cwd=tmp_path), 2, "out", "--force")
    assert [p.name for p in out.iterdir()] == ["keep.txt"]


def test_an_unreachable_server(tmp_path: Path) -> None:
    done = headrace(
        *("bench", "--url", "http://127.0.0.1:9", "--model", "x", "--concurrency", 1),
        *("--requests", 1),
        cwd=tmp_path,
    )
    assert_refused(done, 1, "127.0.0.1:9")


def test_ctrl_c_leaves_complete_files_and_nothing_running(fleet_file: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "out"
    command = [*HEADRACE, "run", str(fleet_file), "--duration", "60", "-o", str(run_dir)]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert wait_for(lambda: list(run_dir.glob(".bench*")) or process.poll() is not None, 60)
    time.sleep(3)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert "Traceback" not in stderr
    assert process.returncode in (4, 130), stderr
    summary = json.loads((run_dir / "summary.json").read_text())
    assert not summary["valid"]
    assert any("interrupted" in reason for reason in summary["invalid_reasons"])
    assert (run_dir / "report.html").exists()


def test_sigkill_of_the_command_leaves_nothing_running(fleet_file: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "out"
    command = [*HEADRACE, "run", str(fleet_file), "--duration", "60", "-o", str(run_dir)]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    assert wait_for((run_dir / "deployment.json").exists, 60)
    time.sleep(1)
    process.kill()
    process.wait()
    assert wait_for(lambda: not processes_of(tmp_path), 30), processes_of(tmp_path)
