"""Clients that have no business here: each is turned away, and the others do not notice."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import pytest

from headrace.node.http import request
from headrace.node.job import GatewaySpec
from headrace.node.ports import free_port
from headrace.targets.deployment import Deployment
from headrace.targets.local.fleet import RunningFleet, start, wait_ready
from tests.integration.fleet_fixtures import run_dir
from tests.integration.jobs import processes_of, tiny_job, wait_for
from tests.integration.streams import Load, together

pytestmark = pytest.mark.integration
__all__ = ["run_dir"]

GOOD, OLD = "good-key-0123456789", "old-key-0123456789"
KEY = f"Authorization: Bearer {GOOD}\r\n"
GIGABYTE = 1_000_000_000
LIMIT = 1_000_000
TRICKS = (
    "/quitquitquit",
    "/metrics/../quitquitquit",
    "/metrics/%2e%2e/quitquitquit",
    "/metrics%2f..%2fquitquitquit",
    "//quitquitquit",
    "/metrics;/quitquitquit",
    "/config_dump",
    "/metrics/../config_dump",
    "/runtime_modify?circuit_breakers.replicas.default.max_requests=0",
)


@dataclass
class Guarded:
    fleet: RunningFleet
    ready: Deployment
    url: str
    keys_file: Path

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A fleet that asks for keys and is strict about sizes and times."""
    folder = tmp_path_factory.mktemp("guarded")
    before = dict(os.environ)
    os.environ.update(HEADRACE_STATE_DIR=str(folder / "state"), HEADRACE_TEST_RUN=str(folder))
    keys = folder / "keys.txt"
    write_keys(keys, f"team {GOOD}", f"guest {OLD} 2020-01-01")
    spec = GatewaySpec(
        policy="least-request",
        keys_file=keys,
        max_body_bytes=LIMIT,
        head_timeout_s=2.0,
        receive_timeout_s=3.0,
        access_log_share=1.0,
        port=free_port("127.0.0.1"),
    )
    try:
        with start(tiny_job(folder / "run", 3, gateway=spec), attached=True) as fleet:
            ready = wait_ready(fleet)
            yield Guarded(fleet, ready, ready.urls[0], keys)
        assert wait_for(lambda: not processes_of(folder)), processes_of(folder)
    finally:
        os.environ.clear()
        os.environ.update(before)


def write_keys(path: Path, *lines: str) -> None:
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")


def statuses(guarded: Guarded, header: str) -> list[int]:
    return [got.status for got in together(guarded.url, 3, header)]


def test_no_key_a_wrong_one_and_one_that_has_ended(guarded: Guarded):
    assert statuses(guarded, KEY) == [200, 200, 200]
    assert statuses(guarded, "") == [401] * 3
    assert statuses(guarded, "Authorization: Bearer wrong-key-0123456789\r\n") == [401] * 3
    assert statuses(guarded, f"Authorization: Bearer {OLD}\r\n") == [401] * 3
    assert statuses(guarded, f"Authorization: {GOOD}x\r\n") == [401] * 3
    health = asyncio.run(request("GET", f"{guarded.url}/health", 5))
    assert health is not None
    assert health.status == 200


def test_keys_are_withdrawn_and_end_while_the_fleet_runs(guarded: Guarded):
    soon = (datetime.now(UTC) + timedelta(seconds=8)).isoformat()
    write_keys(guarded.keys_file, f"team {GOOD}", f"trial trial-key-0123456789 {soon}")
    trial = "Authorization: Bearer trial-key-0123456789\r\n"
    assert wait_for(lambda: statuses(guarded, trial) == [200] * 3)
    assert wait_for(lambda: statuses(guarded, trial) == [401] * 3)
    assert statuses(guarded, KEY) == [200] * 3


def test_keys_are_nowhere_to_be_read_by_others(guarded: Guarded):
    folder = Path(guarded.ready.run_dir)
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and GOOD.encode() in path.read_bytes():
            assert mode & 0o077 == 0, path
    sockets = list((folder / "gateway").rglob("admin.sock"))
    assert sockets
    assert all(path.stat().st_mode & 0o077 == 0 for path in sockets)
    log = folder / "logs" / "access.log"
    assert wait_for(lambda: log.exists() and log.read_text().count("\n") > 3)
    assert GOOD not in log.read_text()
    assert {"status", "replica", "duration_ms"} <= set(json.loads(log.read_text().split("\n")[0]))


def test_a_body_of_a_gigabyte(guarded: Guarded):
    """It is refused long before it has been sent, and costs no memory to speak of."""
    with Load(guarded.url, streams=4, extra=KEY) as load:
        assert wait_for(lambda: len(load.done) > 20)
        before = memory_mb(guarded)
        sent = [flood(guarded, KEY), flood(guarded, "")]
        after = memory_mb(guarded)
    print(
        f"\n| 1 GB body | sent {sent} bytes before it was refused | Envoy {before} to {after} MB |"
    )
    assert max(sent) < GIGABYTE // 10
    assert after - before < 50
    assert all(timed.good for timed in load.done)


def flood(guarded: Guarded, header: str) -> int:
    with socket.create_connection(guarded.address, timeout=20) as client:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: t\r\n{header}Content-Length: {GIGABYTE}"
        client.sendall(head.encode() + b"\r\n\r\n")
        sent, piece = 0, b"x" * 65536
        try:
            while sent < GIGABYTE:
                sent += client.send(piece)
        except OSError:
            pass
        return sent


def memory_mb(guarded: Guarded) -> int:
    gateway = guarded.ready.gateway
    assert gateway is not None
    text = Path(f"/proc/{gateway.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) // 1024


def test_slow_clients_are_cut_off(guarded: Guarded):
    """200 that send their headers a byte at a time, and 50 their bodies."""
    quiet = latency_s(guarded)
    slow = [trickle(guarded, b"GET / HTTP/1.1\r\nx: ") for _ in range(200)]
    head = f"POST / HTTP/1.1\r\nHost: t\r\n{KEY}Content-Length: 1000\r\n\r\n".encode()
    slow += [trickle(guarded, head) for _ in range(50)]
    began_s = time.monotonic()
    beside = latency_s(guarded)
    assert wait_for(lambda: not [c for c in slow if feed(c)], 30)
    for client in slow:
        client.close()
    print(
        f"\n| slow-loris, 250 connections | all cut off after {time.monotonic() - began_s:.1f} s "
        f"| p50 of others {quiet * 1000:.1f} to {beside * 1000:.1f} ms |"
    )


def latency_s(guarded: Guarded) -> float:
    with Load(guarded.url, streams=4, extra=KEY) as load:
        assert wait_for(lambda: len(load.done) > 80)
    assert all(timed.good for timed in load.done)
    return median(timed.ended_s - timed.began_s for timed in load.done)


def trickle(guarded: Guarded, head: bytes) -> socket.socket:
    client = socket.create_connection(guarded.address, timeout=5)
    client.sendall(head)
    client.setblocking(False)
    return client


def feed(client: socket.socket) -> bool:
    """Send one more byte; false once the connection is closed."""
    try:
        client.send(b"a")
        return client.recv(1000) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_path_tricks_at_the_admin_interface(guarded: Guarded):
    gateway = guarded.ready.gateway
    assert gateway is not None
    metrics, key = gateway.metrics_url, {"Authorization": f"Bearer {GOOD}"}
    assert code("GET", metrics, key) == 200
    assert code("GET", metrics, {}) == 401
    base = metrics.removesuffix("/metrics")
    for path in TRICKS:
        for method in ("GET", "POST"):
            assert code(method, base + path, key) in (400, 404), (method, path)
    assert code("POST", metrics, key) == 404
    assert statuses(guarded, KEY) == [200] * 3
    now = guarded.fleet.deployment()
    assert now is not None
    assert now.gateway is not None
    assert now.gateway.restarts == 0


def code(method: str, url: str, headers: dict[str, str]) -> int | None:
    answer = asyncio.run(request(method, url, 5, headers=headers))
    return answer.status if answer else None


def test_above_the_limit_it_is_429_with_retry_after(run_dir: Path):
    spec = GatewaySpec(policy="least-request", in_flight_per_replica=4, retry_after_s=7)
    job = tiny_job(run_dir, 2, "--chunks", "10", "--gap-s", "0.2", gateway=spec)
    with start(job, attached=True) as fleet:
        (url,) = wait_ready(fleet).urls
        assert wait_for(lambda: sum(got.status == 200 for got in together(url, 20)) == 8)
        got = together(url, 20)
        assert sorted(g.status for g in got) == [200] * 8 + [429] * 12
        assert {g.retry_after for g in got if g.status == 429} == {"7"}
        assert [g.status for g in together(url, 8)] == [200] * 8


def test_prompts_with_one_beginning_share_a_replica(run_dir: Path):
    with start(tiny_job(run_dir, 3, policy="prefix-affinity"), attached=True) as fleet:
        (url,) = wait_ready(fleet).urls
        homes = {}
        for system in "abcdefgh":
            asked = [
                {"messages": [{"role": "system", "content": system * 2000}, {"content": str(turn)}]}
                for turn in range(3)
            ]
            (homes[system],) = {together(url, 1, "", json.dumps(a))[0].replica for a in asked}
        assert len(set(homes.values())) > 1
