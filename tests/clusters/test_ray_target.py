"""The Ray target on a real Ray: four fake nodes of this machine, each with a raylet of its own."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headrace.node.assignment import Assignment
from headrace.node.job import Link
from headrace.node.ports import is_free
from headrace.spec.target import RayTarget
from headrace.targets.parts import assignments
from tests.clusters.fleets import MODEL, document, headrace, start, states, write_fleet
from tests.clusters.ray import RayCluster, ray_cluster
from tests.integration.jobs import processes_of, wait_for
from tests.integration.streams import completions
from tests.integration.summaries import measured
from tests.targets.planned import planned

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not find_spec("ray"), reason="the extra is not installed: pip install 'headrace[ray]'"
    ),
]

NODES = 4


@pytest.fixture(scope="module")
def node_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the nodes keep their temporary files; their processes are known by it."""
    return tmp_path_factory.mktemp("nodes")


@pytest.fixture(scope="module")
def cluster(node_files: Path) -> Iterator[RayCluster]:
    with ray_cluster(NODES, node_files) as running:
        yield running


@pytest.fixture
def run_dir(node_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run's folder; at the end nothing of it runs, here or on a node."""
    monkeypatch.setenv("HEADRACE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HEADRACE_TEST_RUN", str(tmp_path))
    yield tmp_path / "run"
    assert wait_for(lambda: not processes_of(tmp_path)), processes_of(tmp_path)
    assert wait_for(lambda: not on_nodes(node_files)), on_nodes(node_files)


def on_nodes(node_files: Path, node: str = "") -> list[str]:
    """Command lines of agents, keepers and engines on the nodes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if f"{node_files}/headrace-" in command and f"-{node}" in command:
                found.append(command)
    return found


def words(text: str) -> str:
    return " ".join(text.split())


def status() -> dict:
    return document(headrace("status", "small", "--json"))


def test_a_whole_run(cluster: RayCluster, run_dir: Path, node_files: Path):
    fleet = write_fleet(run_dir.parent, NODES, {"kind": "ray", "address": cluster.address})
    done = headrace("run", fleet, "--duration", 2, "-o", run_dir, "--json")
    summary = measured(done)
    assert summary["engine"] == "simulated"
    assert summary["requests"]["failed"] == 0
    assert set(summary["per_replica"]) == {f"r{number}" for number in range(2 * NODES)}
    deployment = json.loads((run_dir / "deployment.json").read_text())
    nodes = [f"node-{number}" for number in range(NODES)]
    assert Counter(r["node"] for r in deployment["replicas"]) == dict.fromkeys(nodes, 2)
    assert set(states(deployment)) == {"stopped"}
    assert (run_dir / "report.html").stat().st_size > 0
    for node in nodes:
        log = (run_dir / "nodes" / node / "logs" / "simulated.log").read_text()
        assert "told to stop" in log or "ready" in log
    assert [f for base in node_files.glob("headrace-*") for f in base.iterdir()] == []
    assert [p for p in run_dir.rglob("*") if p.is_socket() or p.suffix == ".token"] == []
    assert list((run_dir.parent / "state").rglob("*.json")) == []
    urls = [deployment["gateway"]["url"], *(r["url"] for r in deployment["replicas"])]
    ports = [urlsplit(url) for url in urls]
    assert [p for p in ports if not is_free(p.hostname or "", p.port or 0)] == []


def test_an_end_in_the_midst_of_a_look_leaves_nothing_on_the_node(
    cluster: RayCluster, run_dir: Path, node_files: Path
):
    """A node is looked at each second; here the look takes a second, so that the end meets one."""
    import ray

    from headrace.targets.ray.actor import About, Look, NodeHost
    from headrace.targets.ray.placer import connected
    from headrace.targets.ray.seat import Seat

    looking = run_dir.parent / "looking"

    class Slow(NodeHost):
        def look(self, offsets: dict[str, int]) -> Look:
            looking.touch()
            time.sleep(1.0)
            return super().look(offsets)

    target = {"kind": "ray", "address": cluster.address}
    plan = planned(target, nodes=1)

    def assign(node: str, about: About) -> Assignment:
        link, folder = Link(url="http://127.0.0.1:9"), Path(about.folder)
        return assignments(plan, [node], link, lambda _: folder, lambda _: about.address)[0]

    def looked_at() -> bool:
        seat.step()
        return looking.exists()

    with connected(RayTarget.model_validate(target)):
        actor = ray.remote(Slow).options(num_cpus=1)
        seat = Seat("node-0", run_dir, lambda: actor.remote("small", "node-0"), assign, "token")
        assert wait_for(looked_at)
        seat.leave()
        seat.close(time.monotonic() + 60)
    assert (run_dir / "logs").is_dir()
    assert [f for base in node_files.glob("headrace-*") for f in base.iterdir()] == []


@pytest.mark.slow
def test_a_node_is_removed_the_fleet_goes_on_and_takes_it_back(
    cluster: RayCluster, run_dir: Path, node_files: Path
):
    """Three nodes of four: the one that is removed leaves no orphan; the spare takes its place."""
    fleet = write_fleet(run_dir.parent, NODES - 1, {"kind": "ray", "address": cluster.address})
    up = document(headrace("up", fleet, "-o", run_dir, "--json"))
    url, model = up["gateway"]["url"], MODEL
    try:
        address = next(each for each in cluster.nodes if replicas_at(up, each))
        lost = replicas_at(up, address)
        node = next(r["node"] for r in up["replicas"] if r["id"] in lost)
        processes = set(on_nodes(node_files, node))
        assert len(processes) >= 3
        cluster.remove_node(address)
        got = [each for _ in range(10) for each in completions(url, model, 8)]
        assert Counter(each.status for each in got) == {200: 80}
        left = {r["id"] for r in up["replicas"]} - lost
        assert wait_for(lambda: ready() == left), status()
        assert not processes & set(on_nodes(node_files, node))
        assert wait_for(lambda: ready() == left | lost, 60), status()
        assert not replicas_at(status(), address)
        served = {each.replica for _ in range(10) for each in completions(url, model, 8)}
        assert lost <= served
        labels = {line.split(":")[0] for line in headrace("logs", "small").stdout.splitlines()}
        assert {"gateway", "placer", f"{node}/simulated"} <= labels
    finally:
        down = headrace("down", "small", "--json")
    assert set(states(document(down))) == {"stopped"}


def replicas_at(deployment: dict, address: str) -> set[str]:
    return {r["id"] for r in deployment["replicas"] if f"//{address}:" in r["url"]}


def ready() -> set[str]:
    return {r["id"] for r in status()["replicas"] if r["state"] == "ready"}


@pytest.mark.slow
def test_the_head_is_killed_and_nothing_stays(cluster: RayCluster, run_dir: Path, node_files: Path):
    fleet = write_fleet(run_dir.parent, 1, {"kind": "ray", "address": cluster.address})
    up = document(headrace("up", fleet, "-o", run_dir, "--json"))
    assert on_nodes(node_files)
    os.kill(up["agent_pid"], signal.SIGKILL)
    assert wait_for(lambda: not on_nodes(node_files), 60), on_nodes(node_files)
    assert headrace("down", "small").returncode == 0


def test_too_few_nodes_are_waited_for_and_said(cluster: RayCluster, run_dir: Path):
    there = 1 + len(cluster.nodes)
    fleet = write_fleet(run_dir.parent, there + 1, {"kind": "ray", "address": cluster.address})
    command = start("run", fleet, "-o", run_dir)
    log = run_dir / "logs" / "placer.log"
    words = f"{there} nodes of the Ray cluster have 1 CPU; {there + 1} are needed"
    assert wait_for(lambda: log.exists() and words in log.read_text(), 60)
    command.send_signal(signal.SIGINT)
    _, stderr = command.communicate(timeout=60)
    assert "Traceback" not in stderr
    assert command.returncode == 130


def test_an_address_without_a_cluster_is_one_error(run_dir: Path):
    fleet = write_fleet(run_dir.parent, 1, {"kind": "ray", "address": "127.0.0.2:9"})
    done = headrace("run", fleet, "-o", run_dir)
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1
    assert "no Ray cluster answers at 127.0.0.2:9: Connection refused" in words(done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_new_ray_of_this_machine(run_dir: Path):
    """Without an address: started, used and ended with the fleet."""
    fleet = write_fleet(run_dir.parent, 1, {"kind": "ray"})
    done = headrace("run", fleet, "--requests", 64, "-o", run_dir, "--json")
    assert document(done)["requests"]["completed"] == 64


def test_several_nodes_need_a_cluster(run_dir: Path):
    fleet = write_fleet(run_dir.parent, 2, {"kind": "ray"})
    done = headrace("run", fleet, "-o", run_dir)
    assert done.returncode == 2
    assert "set target.address" in done.stderr
