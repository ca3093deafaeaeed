"""The Slurm target on a real Slurm: munged, slurmctld and three slurmd of this machine."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.fleets import MODEL, document, headrace, start, states, write_fleet
from tests.clusters.slurm import SlurmCluster, slurm_cluster, why_not
from tests.integration.jobs import processes_of, wait_for
from tests.integration.streams import Got, completions
from tests.integration.summaries import measured

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]

NODES = 3


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm"), NODES) as running:
        yield running


@pytest.fixture
def run_dir(
    cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A run's folder; at the end no job is queued and no process of it is left."""
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HEADRACE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HEADRACE_TEST_RUN", str(tmp_path))
    yield tmp_path / "run"
    assert wait_for(lambda: not cluster.run("squeue", "-h"), 30), cluster.run("squeue")
    assert wait_for(lambda: not processes_of(tmp_path)), processes_of(tmp_path)


def fleet_file(run_dir: Path, **target: object) -> Path:
    return write_fleet(run_dir.parent, NODES, {"kind": "slurm", **target})


def job_of(run_dir: Path) -> str:
    return (run_dir / "slurm.job").read_text().strip()


def test_a_whole_run(cluster: SlurmCluster, run_dir: Path):
    done = headrace("run", fleet_file(run_dir), "--duration", 2, "-o", run_dir, "--json")
    summary = measured(done)
    assert summary["engine"] == "simulated"
    assert summary["requests"]["failed"] == 0
    assert set(summary["per_replica"]) == {f"r{number}" for number in range(2 * NODES)}
    deployment = json.loads((run_dir / "deployment.json").read_text())
    assert Counter(r["node"] for r in deployment["replicas"]) == dict.fromkeys(
        ("node-0", "node-1", "node-2"), 2
    )
    assert set(states(deployment)) == {"stopped"}
    assert (run_dir / "report.html").stat().st_size > 0
    assert wait_for(lambda: cluster.state(job_of(run_dir)) == "COMPLETED", 30)


@pytest.mark.slow
def test_a_node_dies_and_the_fleet_goes_on(cluster: SlurmCluster, run_dir: Path):
    """Slurm's processes of the node are killed: its agent ends itself, the others serve on."""
    url = document(headrace("up", fleet_file(run_dir), "-o", run_dir, "--json"))["gateway"]["url"]
    try:
        cluster.stop_node("fake-3")
        assert wait_for(lambda: states(status())[4:] != ["ready", "ready"], 30), status()
        got = [each for _ in range(10) for each in completions(url, MODEL, 8)]
        assert Counter(each.status for each in got) == {200: 80}
        assert {each.replica for each in got} <= {"r0", "r1", "r2", "r3"}
        assert states(status())[:4] == ["ready"] * 4
        assert not processes_of_node(run_dir.parent, "node-2")
    finally:
        down = headrace("down", "small", "--json")
        cluster.start_node("fake-3")
    assert set(states(document(down))) <= {"stopped", "failed"}


@pytest.mark.slow
def test_scale_reaches_the_nodes(cluster: SlurmCluster, run_dir: Path):
    """One replica of each node is ended, and started again."""
    fleet = fleet_file(run_dir)
    document(headrace("up", fleet, "-o", run_dir, "--json"))
    try:
        fewer = document(headrace("scale", NODES, "small", "--json"))
        serving = [r["node"] for r in fewer["replicas"] if r["state"] == "ready"]
        assert serving == ["node-0", "node-1", "node-2"]
        assert set(states(document(headrace("scale", 2 * NODES, "small", "--json")))) == {"ready"}
    finally:
        down = headrace("down", "small", "--json")
    assert set(states(document(down))) == {"stopped"}


def status() -> dict:
    return document(headrace("status", "small", "--json"))


def processes_of_node(folder: Path, node: str) -> list[str]:
    return [command for command in processes_of(folder) if f"/nodes/{node}/" in command]


def test_by_hand_and_drained_by_a_signal(cluster: SlurmCluster, run_dir: Path):
    """`headrace render`, `sbatch`, and `scancel --signal=URG`, which lets streams finish."""
    folder = run_dir.parent / "written"
    assert headrace("render", "slurm", fleet_file(run_dir), "-o", folder).returncode == 0
    submitted = subprocess.run(
        ["sbatch", "--parsable", "fleet.sbatch"], cwd=folder, capture_output=True, check=True
    )
    job = submitted.stdout.decode().strip()
    nodes = folder / f"run-{job}" / "nodes"
    assert wait_for(lambda: len(gateways(nodes)) == NODES, 60), list(nodes.glob("*/*"))
    streams = [Stream(url) for url in gateways(nodes)]
    assert wait_for(lambda: all(stream.thread.is_alive() for stream in streams))
    time.sleep(1.0)
    assert not any(stream.got for stream in streams)
    cluster.run("scancel", "--signal=URG", job)
    for stream in streams:
        stream.thread.join(60)
    assert [(g.status, g.whole) for stream in streams for g in stream.got] == [(200, True)] * NODES
    assert wait_for(lambda: cluster.state(job) == "COMPLETED", 30)


def gateways(nodes: Path) -> list[str]:
    """Of the nodes whose replicas are all ready."""
    found = []
    for file in sorted(nodes.glob("*/deployment.json")):
        deployment = json.loads(file.read_text())
        gateway = deployment["gateway"]
        if gateway and gateway["state"] == "ready" and set(states(deployment)) == {"ready"}:
            found.append(gateway["url"])
    return found


class Stream:
    """A stream of a few seconds, read by a thread."""

    def __init__(self, url: str) -> None:
        self.got: list[Got] = []
        self.thread = threading.Thread(target=self._read, args=(url,), daemon=True)
        self.thread.start()

    def _read(self, url: str) -> None:
        self.got += completions(url, MODEL, 1, tokens=1900)


def test_what_slurm_refuses_is_one_error(run_dir: Path):
    done = headrace("run", fleet_file(run_dir, partition="none"), "-o", run_dir)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("error:") == 1
    assert "invalid partition specified: none" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_a_waiting_job_goes_with_its_command(cluster: SlurmCluster, run_dir: Path, number: int):
    fleet = fleet_file(run_dir, options={"begin": "now+1hour"})
    command = start("run", fleet, "-o", run_dir)
    assert wait_for(lambda: "BeginTime" in cluster.run("squeue", "-h", "-o", "%r"), 60)
    command.send_signal(number)
    _, stderr = command.communicate(timeout=60)
    assert "Traceback" not in stderr
    assert wait_for(lambda: cluster.state(job_of(run_dir)) == "CANCELLED", 30)


def test_the_file_for_real_gpus_is_accepted(cluster: SlurmCluster, run_dir: Path):
    """Eight GPUs on each of three nodes are there, if only as device files."""
    folder = run_dir.parent / "written"
    fleet = write_fleet(
        run_dir.parent,
        NODES,
        {"kind": "slurm", "time_limit": "1:00:00"},
        hardware={"gpu": "B200", "nodes": NODES, "gpus_per_node": 8},
        engine={"kind": "vllm"},
    )
    assert headrace("render", "slurm", fleet, "-o", folder).returncode == 0
    assert "--gres=gpu:8" in (folder / "fleet.sbatch").read_text()
    cluster.run("sbatch", "--test-only", str(folder / "fleet.sbatch"))


@pytest.mark.slow
def test_the_time_limit_drains(cluster: SlurmCluster, run_dir: Path):
    """Slurm counts in minutes, and sends the signal up to a minute early: this takes one."""
    fleet = fleet_file(run_dir, time_limit="1", drain_s=20)
    document(headrace("up", fleet, "-o", run_dir, "--json"))
    try:
        assert wait_for(lambda: set(states(status())) == {"stopped"}, 120), status()
        assert wait_for(lambda: cluster.state(job_of(run_dir)) == "COMPLETED", 30)
    finally:
        headrace("down", "small")


def test_without_slurm_it_says_where_to_go(run_dir: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("PATH", "/none")
        done = headrace("up", fleet_file(run_dir), "-o", run_dir)
    assert done.returncode == 2, done.stderr
    assert "there is no `scontrol` here" in done.stderr
    assert "login node" in done.stderr
