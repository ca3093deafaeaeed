from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from headrace.node.job import GatewayPolicy
from headrace.targets.deployment import Deployment
from headrace.targets.local.fleet import RunningFleet, start, wait_ready
from tests.integration.fleet_fixtures import run_dir
from tests.integration.jobs import killed, tiny_job, wait_for
from tests.integration.streams import Got, opened, together

pytestmark = pytest.mark.integration
__all__ = ["run_dir"]
HELD_STREAMS = 120
BURST = 800


def serving(
    folder: Path, replicas: int, *options: str, policy: GatewayPolicy = "least-request"
) -> tuple[RunningFleet, Deployment]:
    fleet = start(tiny_job(folder, replicas, *options, policy=policy), attached=True)
    return fleet, wait_ready(fleet)


def gateway_url(deployment: Deployment) -> str:
    assert deployment.gateway is not None
    return deployment.gateway.url


@contextmanager
def stopped_agent(deployment: Deployment) -> Iterator[None]:
    """Nobody but Envoy can notice a death meanwhile."""
    os.kill(deployment.agent_pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(deployment.agent_pid, signal.SIGCONT)


def test_an_answer_names_its_replica_and_keeps_the_engines_headers(run_dir: Path):
    fleet, deployment = serving(run_dir, 2)
    with fleet:
        (got,) = together(gateway_url(deployment), 1)
    assert got.replica in ("r0", "r1")
    assert got == Got(status=200, replica=got.replica, server="tiny", whole=True)


def test_least_request_spreads_evenly(run_dir: Path):
    """Each stream stays open and is counted before the next is asked for: no clock matters.

    Of four replicas the least busy one is among eight random ones nine times in ten: the most and
    the least busy differed by three at most in 100,000 simulated spreads, and by eleven on average
    where replicas are taken at random.
    """
    fleet, deployment = serving(run_dir, 4, "--chunks", "1000000", "--gap-s", "0.5")
    with fleet, ExitStack() as held:
        counts = Counter(
            held.enter_context(opened(gateway_url(deployment))) for _ in range(HELD_STREAMS)
        )
    assert set(counts) == {"r0", "r1", "r2", "r3"}
    assert max(counts.values()) - min(counts.values()) <= 4


def test_a_burst_of_new_connections_is_spread_evenly(run_dir: Path):
    """What waits for a connection counts: or the replica that is slow to accept gets the burst."""
    fleet, deployment = serving(run_dir, 2, "--chunks", "5", "--gap-s", "0.2")
    with fleet:
        got = together(gateway_url(deployment), BURST)
    counts = Counter(g.replica for g in got)
    assert {(g.status, g.whole) for g in got} == {(200, True)}
    assert abs(counts["r0"] - counts["r1"]) <= BURST // 20


def test_round_robin_takes_turns(run_dir: Path):
    fleet, deployment = serving(run_dir, 2, policy="round-robin")
    with fleet:
        counts = Counter(got.replica for got in together(gateway_url(deployment), 20))
    assert counts == {"r0": 10, "r1": 10}


def test_affinity_keeps_a_session_at_one_replica(run_dir: Path):
    fleet, deployment = serving(run_dir, 3, policy="affinity")
    with fleet:
        url = gateway_url(deployment)
        homes = {}
        for session in range(12):
            header = f"x-session-id: s{session}\r\n"
            (homes[session],) = {together(url, 1, header)[0].replica for _ in range(3)}
    assert len(set(homes.values())) > 1


def test_a_killed_replica_costs_no_new_request(run_dir: Path):
    fleet, deployment = serving(run_dir, 3)
    with fleet:
        victim = deployment.replicas[0]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        got = [g for _ in range(10) for g in together(gateway_url(deployment), 10)]
        assert wait_for(lambda: states(fleet) == ["failed", "ready", "ready"])
    assert {g.status for g in got} == {200}
    assert all(g.whole for g in got)


def test_a_dead_backend_in_the_endpoints_is_retried_elsewhere(run_dir: Path):
    fleet, deployment = serving(run_dir, 2, policy="round-robin")
    with fleet:
        victim = deployment.replicas[0]
        assert victim.pid is not None
        with stopped_agent(deployment):
            os.kill(victim.pid, signal.SIGKILL)
            got = together(gateway_url(deployment), 20)
    assert Counter(g.replica for g in got) == {"r1": 20}


def test_a_dead_replica_that_is_the_least_busy_one_is_left_out(run_dir: Path):
    """The first request that meets it is asked elsewhere, though all others are busier."""
    fleet, deployment = serving(run_dir, 3, "--chunks", "5", "--gap-s", "0.1")
    with fleet, stopped_agent(deployment):
        killed(deployment.replicas[0].pid)
        got = [g for _ in range(3) for g in together(gateway_url(deployment), 4)]
    assert {(g.status, g.whole) for g in got} == {(200, True)}


def test_half_a_fleet_that_dies_at_once_costs_no_new_request(run_dir: Path):
    """A lost node's replicas are the least busy ones."""
    fleet, deployment = serving(run_dir, 8, "--chunks", "5", "--gap-s", "0.1")
    with fleet, stopped_agent(deployment):
        for victim in deployment.replicas[:4]:
            killed(victim.pid)
        got = [g for _ in range(6) for g in together(gateway_url(deployment), 8)]
    assert Counter((g.status, g.whole) for g in got) == {(200, True): 48}


def test_a_replica_that_hung_up_once_is_soon_asked_again(run_dir: Path):
    """The request that it dropped is answered by the other one."""
    hang_up = run_dir / "hang-up"
    fleet, deployment = serving(run_dir, 2, "--hang-up-if", str(hang_up))
    with fleet:
        hang_up.touch()
        got = together(gateway_url(deployment), 1)
        assert not hang_up.exists()
        assert wait_for(lambda: len({g.replica for g in together(gateway_url(deployment), 8)}) == 2)
    assert [g.status for g in got] == [200]


def test_more_than_a_thousand_streams_at_once(run_dir: Path):
    """Envoy and the server must raise the usual soft limit of 1,024 open files."""
    with soft_file_limit(1024):
        fleet, deployment = serving(run_dir, 2, "--chunks", "6", "--gap-s", "1.0")
    with fleet, soft_file_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
        got = together(gateway_url(deployment), 1400)
    assert Counter((g.status, g.whole) for g in got) == {(200, True): 1400}


def test_streams_in_flight_are_finished_when_the_fleet_goes_down(run_dir: Path):
    fleet, deployment = serving(run_dir, 2, "--chunks", "20", "--gap-s", "0.1")
    with fleet:
        stopper = threading.Timer(0.7, os.kill, (deployment.agent_pid, signal.SIGTERM))
        stopper.start()
        got = together(gateway_url(deployment), 20)
        stopper.join()
    assert Counter((g.status, g.whole) for g in got) == {(200, True): 20}
    last = fleet.deployment()
    assert last is not None
    assert {replica.state for replica in last.replicas} == {"stopped"}


def test_without_a_gateway_the_replicas_are_the_urls(run_dir: Path):
    fleet, deployment = serving(run_dir, 2, policy="none")
    with fleet:
        assert deployment.gateway is None
        assert [together(url, 1)[0].status for url in deployment.urls] == [200, 200]


def states(fleet: RunningFleet) -> list[str]:
    time.sleep(0.05)
    now = fleet.deployment()
    return [replica.state for replica in now.replicas] if now else []


@contextmanager
def soft_file_limit(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
