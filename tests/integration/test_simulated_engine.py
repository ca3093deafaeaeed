"""The simulated engine as a process: start, serve, drain, die."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from headrace.engines.simulated.job import SimulatedJob
from headrace.engines.simulated.process import death_reason, phase
from headrace.node.ports import free_port
from tests.engines.simulated.serving import replica_model

pytestmark = pytest.mark.integration

STEP_S = 0.01


def write_job(folder: Path, ports: list[int], **changes: Any) -> Path:
    job = SimulatedJob(
        model="m",
        ports=ports,
        replica=replica_model(step_s=STEP_S).to_json(),
        max_model_len=4096,
        vocab_size=32_000,
        **changes,
    )
    path = folder / "job.json"
    path.write_text(job.model_dump_json())
    return path


@contextmanager
def engine(
    job: Path, *options: str, wait: bool = True, **env: str
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "headrace.engines.simulated", "--job", str(job), *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | env,
    )
    try:
        if wait:
            wait_until_ready(SimulatedJob.model_validate_json(job.read_text()).ports)
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_ready(ports: list[int]) -> None:
    deadline = time.monotonic() + 60
    for port in ports:
        while not is_open(port):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def request(port: int, **body: Any) -> urllib.request.Request:
    return urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", json.dumps({"prompt": "x"} | body).encode()
    )


def stop(process: subprocess.Popen[str]) -> str:
    """Ask it to end; returns its output."""
    process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=60)[0]


def test_it_serves_every_replica_on_its_port_and_says_so(tmp_path: Path) -> None:
    ports = [free_port("127.0.0.1") for _ in range(3)]
    with engine(write_job(tmp_path, ports, gpu="B200")) as process:
        began = time.monotonic()
        with urllib.request.urlopen(request(ports[1], max_tokens=20)) as answer:
            document = json.load(answer)
            assert answer.headers["x-headrace-engine"] == "simulated"
        assert time.monotonic() - began >= 20 * STEP_S
        assert document["usage"]["completion_tokens"] == 20
        pages = [
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
            for port in ports
        ]
        output = stop(process)
    line = 'vllm:generation_tokens_total{engine="0",model_name="m"} '
    assert [float(page.split(line)[1].split("\n")[0]) for page in pages] == [0, 20, 0]
    phases = [found for text in output.splitlines() if (found := phase(text))]
    assert phases[0] == "simulated: loading m for 3 simulated B200 replicas"
    assert any("ready" in found for found in phases)
    assert process.returncode == 0


def test_requests_in_flight_end_within_the_shutdown_timeout(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    with engine(write_job(tmp_path, [port]), "--shutdown-timeout", "20") as process:
        with urllib.request.urlopen(request(port, max_tokens=100, stream=True)) as answer:
            answer.readline()
            process.send_signal(signal.SIGTERM)
            rest = answer.read()
        output = process.communicate(timeout=60)[0]
        assert not is_open(port)
    assert rest.endswith(b"data: [DONE]\n\n")
    assert process.returncode == 0
    assert "0 requests were cut" in output


def test_without_a_shutdown_timeout_requests_are_cut(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    asked = request(port, max_tokens=4000, stream=True)
    with engine(write_job(tmp_path, [port])) as process, urllib.request.urlopen(asked) as answer:
        answer.readline()
        output = stop(process)
        rest = read_what_comes(answer)
    assert b"[DONE]" not in rest
    assert process.returncode == 0
    assert "1 requests were cut" in output


def read_what_comes(answer: Any) -> bytes:
    try:
        return bytes(answer.read())
    except (OSError, HTTPException):
        return b""


def test_ports_open_only_after_loading_and_loading_can_be_stopped(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    with engine(write_job(tmp_path, [port], start_delay_s=60), wait=False) as process:
        assert process.stdout is not None
        assert "loading" in process.stdout.readline()
        assert not is_open(port)
        stop(process)
    assert process.returncode == 0


def test_a_busy_port_is_one_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = free_port("127.0.0.1")
        with engine(write_job(tmp_path, [free, port]), wait=False) as process:
            output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in death_reason(process.returncode, output)
    assert "Traceback" not in output


def test_a_broken_job_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text("{}")
    with engine(path, wait=False) as process:
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 2
    assert "Traceback" not in output
    assert str(path) in output


def test_the_key_comes_from_the_environment(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    with engine(write_job(tmp_path, [port]), VLLM_API_KEY="k1"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request(port))
        refused.value.close()
        allowed = request(port)
        allowed.add_header("authorization", "Bearer k1")
        with urllib.request.urlopen(allowed) as answer:
            assert answer.status == 200
    assert refused.value.code == 401
