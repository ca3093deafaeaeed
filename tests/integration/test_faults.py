"""The fault table: what happens to requests when something dies, hangs, slows down or is full.

Each test prints its numbers; `pytest -s tests/integration/test_faults.py` shows the table. One
fleet of simulated replicas, a process each, serves most of them.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from headrace.node.job import HealthSpec, RestartSpec
from headrace.node.wanted import Rollout, ask, read_wanted
from headrace.planner.plan import Plan
from headrace.targets.deployment import Deployment, Replica
from headrace.targets.local.fleet import RunningFleet, start, wait_ready
from headrace.targets.local.job import plan_job
from tests.integration.fleet_fixtures import run_dir
from tests.integration.jobs import killed, processes_of, tiny_job, wait_for
from tests.integration.nodes import simulated_plan
from tests.integration.streams import Load, Timed

pytestmark = pytest.mark.integration
__all__ = ["run_dir"]

REPLICAS = 4
QUICK = HealthSpec(period_s=0.3, timeout_s=2.0, fail_after=2, kill_after=3)


@dataclass
class Shared:
    """A fleet that serves, whatever the last test did to it."""

    fleet: RunningFleet
    plan: Plan
    url: str

    def now(self) -> Deployment:
        found = self.fleet.deployment()
        assert found is not None
        return found

    def whole(self) -> bool:
        gateway = self.now().gateway
        if gateway is None or gateway.standby is None:
            return False
        states = {replica.state for replica in self.now().replicas}
        return {*states, gateway.state, gateway.standby.state} == {"ready"}

    def load(self, streams: int = 8, tokens: int = 40) -> Load:
        asked = {"model": self.plan.model, "prompt": [1, 2, 3], "max_tokens": tokens}
        return Load(self.url, json.dumps(asked | {"stream": True}), streams)

    def replica(self, name: str) -> Replica:
        return next(replica for replica in self.now().replicas if replica.id == name)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("faults")
    before = dict(os.environ)
    os.environ.update(HEADRACE_STATE_DIR=str(folder / "state"), HEADRACE_TEST_RUN=str(folder))
    try:
        plan = simulated_plan(folder, 1, REPLICAS, name="faults")
        job = plan_job(plan, folder / "run", processes=REPLICAS)
        job = job.model_copy(update={"health": QUICK, "restart": RestartSpec(crashes=20)})
        with start(job, attached=False) as running:
            ready = wait_ready(running)
            yield Shared(running, plan, ready.urls[0])
        assert wait_for(lambda: not processes_of(folder)), processes_of(folder)
    finally:
        os.environ.clear()
        os.environ.update(before)


def tell(fault: str, done: list[Timed], **numbers: object) -> None:
    """A line of the table."""
    more = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in numbers.items())
    print(f"\n| {fault} | {len(done)} requests, {len(failed(done))} failed | {more} |")


def failed(done: list[Timed]) -> list[Timed]:
    return [timed for timed in done if not timed.good]


def reaped(pid: int | None) -> float:
    """End it, and say when no thread of it was left: one of them may hold its port till then."""
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not Path(f"/proc/{pid}").exists())
    return time.monotonic()


def test_a_replica_is_killed(fleet: Shared):
    assert wait_for(fleet.whole)
    victim = fleet.now().replicas[0]
    assert victim.pid is not None
    with fleet.load() as load:
        assert wait_for(lambda: len(load.done) > 20)
        killed_s = killed(victim.pid)
        assert wait_for(lambda: fleet.replica(victim.id).restarts > victim.restarts)
        assert wait_for(lambda: fleet.replica(victim.id).state == "ready")
        ready_s = time.monotonic()
        assert wait_for(lambda: answers(load, victim.id, ready_s))
        back_s = answers(load, victim.id, ready_s)[0].began_s - ready_s
    broken = failed(load.done)
    tell(
        "SIGKILL of a replica",
        load.since(killed_s),
        in_flight_broken=len(broken),
        ready_again_after_s=f"{ready_s - killed_s:.1f}",
        used_after_s=f"{back_s:.2f}",
    )
    assert failed(load.since(killed_s)) == []
    assert all(timed.got is None or timed.got.replica == victim.id for timed in broken)


def test_a_replica_hangs(fleet: Shared):
    """It accepts and never answers: those who wait for it are asked elsewhere when it is ended."""
    assert wait_for(fleet.whole)
    victim = fleet.now().replicas[1]
    assert victim.pid is not None
    with fleet.load() as load:
        assert wait_for(lambda: len(load.done) > 20)
        hung_s = time.monotonic()
        os.kill(victim.pid, signal.SIGSTOP)
        assert wait_for(lambda: fleet.replica(victim.id).restarts > victim.restarts, 40)
        noticed_s = time.monotonic()
        assert wait_for(fleet.whole, 40)
    new = load.since(hung_s)
    longest_s = max(timed.ended_s - timed.began_s for timed in new)
    tell(
        "hung replica",
        new,
        ended_after_s=f"{noticed_s - hung_s:.1f}",
        longest_request_s=f"{longest_s:.1f}",
    )
    assert failed(new) == []


def test_the_gateway_is_killed(fleet: Shared):
    """The standby serves at once, and the dead one is started again to stand by for it."""
    for _ in range(2):
        kill_the_gateway(fleet)


def kill_the_gateway(fleet: Shared) -> None:
    assert wait_for(fleet.whole)
    before = fleet.now().gateway
    assert before is not None
    assert before.standby is not None
    with fleet.load() as load:
        assert wait_for(lambda: len(load.done) > 20)
        killed_s = reaped(before.pid)
        assert wait_for(lambda: len(load.since(killed_s)) > 100)
        assert wait_for(fleet.whole)
    new = load.since(killed_s)
    broken = len(failed(load.done)) - len(failed(new))
    tell("SIGKILL of the gateway", new, in_flight_broken=broken)
    after = fleet.now().gateway
    assert after is not None
    assert failed(new) == []
    assert (after.url, after.pid) == (before.url, before.standby.pid)
    assert after.restarts == before.restarts + 1


def test_both_gateways_are_killed(fleet: Shared):
    """Only then are connections refused, until one listens again."""
    assert wait_for(fleet.whole)
    gateway = fleet.now().gateway
    assert gateway is not None
    assert gateway.standby is not None
    with fleet.load() as load:
        assert wait_for(lambda: len(load.done) > 20)
        killed_s = min(reaped(gateway.standby.pid), reaped(gateway.pid))
        assert wait_for(lambda: any(t.good for t in load.since(killed_s)))
        back_s = min(t.began_s for t in load.since(killed_s) if t.good)
        assert wait_for(fleet.whole)
        whole_s = time.monotonic()
        assert wait_for(lambda: len(load.since(whole_s)) > 50)
    again = fleet.now().gateway
    tell(
        "SIGKILL of the gateway and its standby",
        load.since(whole_s),
        first_answer_after_s=f"{back_s - killed_s:.2f}",
    )
    assert again is not None
    assert again.url == gateway.url
    assert failed(load.since(whole_s)) == []


def test_a_gateway_hangs(fleet: Shared):
    """It keeps its port and answers nobody, until it is ended for that."""
    assert wait_for(fleet.whole)
    gateway = fleet.now().gateway
    assert gateway is not None
    assert gateway.pid is not None
    hung_s = time.monotonic()
    os.kill(gateway.pid, signal.SIGSTOP)
    assert wait_for(lambda: not Path(f"/proc/{gateway.pid}").exists(), 60)
    ended_s = time.monotonic()
    with fleet.load() as load:
        assert wait_for(lambda: len(load.done) > 50)
    tell("hung gateway", load.done, ended_after_s=f"{ended_s - hung_s:.1f}")
    assert failed(load.done) == []


def test_no_file_can_grow(fleet: Shared):
    """As on a full disk: the agent goes on, and what it could not write is written later."""
    assert wait_for(fleet.whole)
    victim, agent = fleet.now().replicas[2], fleet.now().agent_pid
    assert victim.pid is not None
    before = resource.prlimit(agent, resource.RLIMIT_FSIZE)
    try:
        resource.prlimit(agent, resource.RLIMIT_FSIZE, (0, before[1]))
        with fleet.load() as load:
            assert wait_for(lambda: len(load.done) > 20)
            killed_s = killed(victim.pid)
            assert wait_for(lambda: len(load.since(killed_s)) > 200)
    finally:
        resource.prlimit(agent, resource.RLIMIT_FSIZE, before)
    assert wait_for(lambda: fleet.replica(victim.id).pid != victim.pid)
    assert wait_for(fleet.whole, 40)
    tell("full disk, and SIGKILL of a replica", load.since(killed_s), agent="goes on")
    assert failed(load.since(killed_s)) == []


def test_a_rolling_update_under_load(fleet: Shared):
    """One replica is out of service meanwhile: it runs the new plan when it comes back."""
    assert wait_for(fleet.whole)
    generation, folder = next_generation(fleet), Path(fleet.now().run_dir)
    slim = fleet.plan.model_copy(update={"pareto": [], "rejected": []})
    with fleet.load() as load:
        ask(folder, replicas=REPLICAS - 1)
        assert wait_for(lambda: states(fleet.fleet)[-1] == "stopped")
        began_s = time.monotonic()
        ask(folder, rollout=Rollout(generation=generation, plan=slim))
        assert wait_for(lambda: rollout(fleet, generation) in ("done", "returned"), 120)
        took_s = time.monotonic() - began_s
        ask(folder, replicas=None)
        assert wait_for(fleet.whole)
    tell("rolling update under load", load.done, processes=REPLICAS - 1, took_s=f"{took_s:.1f}")
    assert rollout(fleet, generation) == "done"
    assert {replica.generation for replica in fleet.now().replicas} == {generation}
    assert failed(load.done) == []


def test_an_update_that_is_bad_goes_back(fleet: Shared):
    assert wait_for(fleet.whole)
    generation = next_generation(fleet)
    before = {replica.generation for replica in fleet.now().replicas}
    bad = fleet.plan.model_copy(update={"simulation": {"scheduler": {"max_model_len": 64}}})
    bad = bad.model_copy(update={"pareto": [], "rejected": []})
    with fleet.load() as load:
        ask(Path(fleet.now().run_dir), rollout=Rollout(generation=generation, plan=bad))
        assert wait_for(lambda: rollout(fleet, generation) == "returned", 120)
        assert wait_for(fleet.whole)
    state = fleet.now().rollout
    assert state is not None
    tell("update with a bad plan", load.done, taken_back=repr(state.detail))
    assert {replica.generation for replica in fleet.now().replicas} == before
    assert failed(load.done) == []


def test_the_command_line_is_killed(run_dir: Path):
    """What it asked for is done, and another shell sees it."""
    with start(tiny_job(run_dir, 3), attached=False) as running:
        wait_ready(running)
        command = [sys.executable, "-c", "from headrace.cli.main import main; main()"]
        cli = subprocess.Popen([*command, "scale", "1"], stderr=subprocess.DEVNULL)
        assert wait_for(lambda: read_wanted(run_dir).replicas == 1)
        cli.kill()
        cli.wait()
        assert wait_for(lambda: states(running) == ["ready", "stopped", "stopped"])
        shown = subprocess.run([*command, "status", "--json"], capture_output=True, check=True)
        assert [r["state"] for r in json.loads(shown.stdout)["replicas"]] == states(running)
    print("\n| SIGKILL of the CLI during scale 1 | done by the agent | status from another shell |")


def test_a_slow_replica_gets_less(run_dir: Path):
    """Four times slower: the least busy gets the next request, so it gets a quarter of others'."""
    job = tiny_job(run_dir, 4, "--chunks", "10", "--gap-s", "0.02", first_only=("--gap-s", "0.08"))
    with start(job, attached=True) as running:
        (url,) = wait_ready(running).urls
        with Load(url, streams=16) as load:
            assert wait_for(lambda: len(load.done) > 400, 60)
    shares = Counter(timed.got.replica for timed in load.done if timed.got)
    others = [shares[name] for name in ("r1", "r2", "r3")]
    took = [t.ended_s - t.began_s for t in load.done if t.got and t.got.replica != "r0"]
    tell(
        "slow replica (4 times)",
        load.done,
        its_requests=shares["r0"],
        others=others,
        p50_at_others_s=f"{median(took):.2f}",
    )
    assert failed(load.done) == []
    assert shares["r0"] < min(others) / 1.5


def test_a_replica_dies_at_every_start(run_dir: Path, tmp_path: Path):
    poison = tmp_path / "poison"
    restart = RestartSpec(crashes=3, backoff_s=0.1)
    job = tiny_job(run_dir, 3, first_only=("--die-if", str(poison)), restart=restart)
    with start(job, attached=True) as running:
        ready = wait_ready(running)
        with Load(ready.urls[0], streams=6) as load:
            assert wait_for(lambda: len(load.done) > 20)
            poison.touch()
            killed_s = killed(ready.replicas[0].pid)
            assert wait_for(lambda: "given up" in detail(running, 0), 60)
            gave_up_s = time.monotonic()
        assert states(running) == ["failed", "ready", "ready"]
    tell(
        "dies at every start",
        load.since(killed_s),
        given_up_after_s=f"{gave_up_s - killed_s:.1f}",
        said=repr(detail(running, 0)),
    )
    assert failed(load.since(killed_s)) == []
    assert "no such model; given up after 3 restarts in a row" in detail(running, 0)


def test_a_port_is_stolen_while_its_replica_loads(run_dir: Path):
    """It finds the port taken when it is done loading, and is started again."""
    job = tiny_job(run_dir, 2, first_only=("--load-s", "1"))
    (first, _) = job.processes
    with start(job, attached=True) as running:
        assert wait_for(lambda: first.log.exists() and "loading" in first.log.read_text())
        with thief(int(first.replicas[0].url.rpartition(":")[2])):
            assert wait_for(lambda: "already in use" in first.log.read_text())
        ready = wait_ready(running)
    assert [replica.state for replica in ready.replicas] == ["ready", "ready"]
    assert [replica.restarts for replica in ready.replicas] == [1, 0]


def test_a_port_is_stolen(run_dir: Path):
    """Another program takes the port of a replica that died: it comes back on another one."""
    with start(tiny_job(run_dir, 2), attached=True) as running:
        ready = wait_ready(running)
        victim = ready.replicas[0]
        port = int(victim.url.rpartition(":")[2])
        with Load(ready.urls[0], streams=6) as load:
            assert wait_for(lambda: len(load.done) > 20)
            killed_s = killed(victim.pid)
            with thief(port):
                assert wait_for(lambda: states(running) == ["ready", "ready"])
                assert wait_for(lambda: answers(load, victim.id, killed_s + 1.0))
                now = running.deployment()
    assert now is not None
    tell("port stolen", load.since(killed_s), moved=f"{victim.url} to {now.replicas[0].url}")
    assert now.replicas[0].url != victim.url
    assert failed(load.since(killed_s)) == []


def thief(port: int) -> socket.socket:
    found: list[socket.socket] = []

    def take() -> bool:
        try:
            found.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            return False
        return True

    assert wait_for(take)
    return found[0]


def answers(load: Load, replica: str, since_s: float) -> list[Timed]:
    return [t for t in load.since(since_s) if t.good and t.got and t.got.replica == replica]


def rollout(fleet: Shared, generation: int) -> str | None:
    state = fleet.now().rollout
    return state.state if state and state.generation == generation else None


def next_generation(fleet: Shared) -> int:
    asked = read_wanted(Path(fleet.now().run_dir)).rollout
    return asked.generation + 1 if asked else 2


def states(fleet: RunningFleet) -> list[str]:
    now = fleet.deployment()
    return [replica.state for replica in now.replicas] if now else []


def detail(fleet: RunningFleet, number: int) -> str:
    now = fleet.deployment()
    return (now.replicas[number].detail or "") if now else ""
