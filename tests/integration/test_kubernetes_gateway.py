"""The cluster's Envoy configuration in a real Envoy: replicas by DNS, canary, metrics."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headrace.gateway.process import envoy_path
from headrace.node.ports import free_port
from headrace.targets.kubernetes.envoy import by_dns, config
from tests.targets.kubernetes.fleets import DIGEST, shape

pytestmark = pytest.mark.integration
DEADLINE_S = 60


class Replica(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = str(self.server.server_address[1]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def replicas() -> Iterator[list[int]]:
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Replica) for _ in range(3)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [server.server_address[1] for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


def get(url: str) -> tuple[str, str | None]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode(), answer.headers.get("x-headrace-replica")


@pytest.fixture
def gateway(replicas: list[int], tmp_path: Path) -> Iterator[tuple[str, str]]:
    """(gateway, stats): the rendered configuration, its names and ports made this machine's."""
    made = config(shape(1, canary={"image": f"x/y{DIGEST}", "weight": 40}))
    static = made["static_resources"]
    taken: set[int] = set()
    for place in (
        made["admin"],
        static["listeners"][0],
        static["listeners"][1],
    ):
        port = free_port("127.0.0.1", taken)
        taken.add(port)
        place["address"]["socket_address"] |= {"address": "127.0.0.1", "port_value": port}
    admin = made["admin"]["address"]["socket_address"]
    for cluster in static["clusters"]:
        if cluster["name"] == "admin":
            endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            endpoint["address"]["socket_address"] = admin
        else:
            ports = replicas[2:] if cluster["name"] == "canary" else replicas[:2]
            cluster.update(by_dns(cluster, cluster["name"], "localhost", ports))
            cluster["dns_lookup_family"] = "V4_ONLY"
    path = tmp_path / "envoy.yaml"
    path.write_text(json.dumps(made))
    argv = [str(envoy_path()), "-c", str(path), "--concurrency", "1", "--disable-hot-restart"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*argv, "--log-level", "warning"], stdout=log, stderr=log)
    urls = [
        f"http://127.0.0.1:{listener['address']['socket_address']['port_value']}"
        for listener in static["listeners"]
    ]
    try:
        wait_until_it_answers(urls, process, tmp_path / "log")
        yield urls[0], urls[1]
    finally:
        process.kill()
        process.wait()


def wait_until_it_answers(urls: list[str], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            get(f"{urls[1]}/ready")
            get(f"{urls[0]}/v1/models")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())


def test_replicas_behind_a_name_share_the_load_and_the_canary_gets_its_part(
    gateway: tuple[str, str], replicas: list[int]
) -> None:
    answers = [get(f"{gateway[0]}/v1/models") for _ in range(300)]
    counts = Counter(int(port) for port, _ in answers)
    assert set(counts) == set(replicas)
    assert 70 < counts[replicas[2]] < 170
    assert {header for _, header in answers} == {f"127.0.0.1:{port}" for port in replicas}


def test_metrics_are_served_and_the_rest_of_the_admin_page_is_not(
    gateway: tuple[str, str],
) -> None:
    text, _ = get(f"{gateway[1]}/stats/prometheus")
    assert 'envoy_cluster_membership_healthy{envoy_cluster_name="replicas"} 2' in text
    for path in ("/", "/config_dump", "/quitquitquit"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"{gateway[1]}{path}")
