"""Stock vLLM on this machine's CPU, started from a plan by the argv and env that we make."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.engines.vllm import process
from headrace.engines.vllm.metrics import EngineMetrics, read_metrics
from headrace.errors import InputError
from headrace.hardware.load import load_gpu
from headrace.models.load import load_model
from headrace.node.job import ProcessSpec, ReplicaSpec
from headrace.node.ports import free_port
from headrace.planner.make import make_plan
from headrace.planner.plan import Plan
from headrace.spec.fleet import Fleet
from headrace.spec.load import load_fleet
from headrace.spec.recipes import recipe_path
from tests.integration.fleet_fixtures import run_dir
from tests.integration.vllm_environment import tiny_model, vllm_executable

pytestmark = [pytest.mark.integration, pytest.mark.vllm]
__all__ = ["run_dir", "tiny_model", "vllm_executable"]

START_S = 400
LONG_TOKENS = 400


@dataclass
class Stream:
    """What came of one streamed completion."""

    events: list[dict[str, Any]]
    done: bool

    @property
    def usage(self) -> dict[str, int]:
        found: dict[str, int] = self.events[-1]["usage"]
        return found


@dataclass
class Server:
    """A running vLLM, known by its spec."""

    spec: ProcessSpec
    child: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return self.spec.replicas[0].url

    def log(self) -> list[str]:
        return self.spec.log.read_text(errors="replace").splitlines()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while not self._healthy():
            code = self.child.poll()
            assert code is None, process.death_reason(code or 0, "\n".join(self.log()[-200:]))
            assert time.monotonic() < deadline, "\n".join(self.log()[-20:])
            time.sleep(0.25)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def metrics(self) -> EngineMetrics:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            return read_metrics(answer.read().decode())

    def complete(
        self, model: str, prompt: list[int], tokens: int, begun: threading.Event | None = None
    ) -> Stream:
        """One stream of exactly so many tokens; `begun` is set at its first chunk."""
        body = {
            "model": model,
            "prompt": prompt,
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {"Content-Type": "application/json"}
        address = self.url.removeprefix("http://")
        with closing(http.client.HTTPConnection(address, timeout=120)) as connection:
            connection.request("POST", "/v1/completions", json.dumps(body), headers)
            answer = connection.getresponse()
            first = answer.readline()
            if begun is not None:
                begun.set()
            text = (first + answer.read()).decode()
        assert answer.status == 200, text
        lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
        return Stream([json.loads(x) for x in lines if x != "[DONE]"], lines[-1] == "[DONE]")


@contextmanager
def serve(spec: ProcessSpec) -> Iterator[Server]:
    """Start a process as the agent would; nothing of its group outlives the test."""
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    with spec.log.open("ab") as log:
        child = subprocess.Popen(
            spec.argv,
            env={**os.environ, **spec.env},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Server(spec, child)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(timeout=30)


def planned(executable: str) -> Plan:
    fleet = load_fleet(recipe_path("tiny-qwen35-cpu"))
    engine = fleet.engine.model_copy(update={"executable": executable})
    fleet = Fleet.model_validate(fleet.model_copy(update={"engine": engine}).model_dump())
    return make_plan(fleet, load_model(fleet.model), load_gpu("CPU"))


def replica() -> ReplicaSpec:
    return ReplicaSpec(id="r0", url=f"http://127.0.0.1:{free_port('127.0.0.1')}", gpus=[0])


@pytest.mark.usefixtures("tiny_model")
def test_it_loads_streams_counts_and_drains(vllm_executable: str, run_dir: Path):
    plan = planned(vllm_executable)
    (spec,) = process.processes(plan, run_dir, [replica()])
    with serve(spec) as server:
        server.wait_ready()
        phases = {found for line in server.log() if (found := process.phase(line))}
        wanted = {"importing", "reading the model's config", "starting the engine"}
        assert wanted | {"loading weights", "sizing its cache", "warming up"} <= phases

        prompt = list(range(100, 164))
        stream = server.complete(plan.model, prompt, 32)
        assert stream.done
        assert stream.usage["prompt_tokens"] == 64
        assert stream.usage["completion_tokens"] == 32
        assert any(event["choices"] and event["choices"][0]["text"] for event in stream.events)

        metrics = server.metrics()
        assert (metrics.prompt_tokens, metrics.generation_tokens) == (64, 32)
        assert (metrics.running, metrics.waiting, metrics.preemptions) == (0, 0, 0)
        assert metrics.acceptance is None

        assert drain_with_a_request_in_flight(server, plan.model, prompt)


def drain_with_a_request_in_flight(server: Server, model: str, prompt: list[int]) -> bool:
    """SIGTERM in the middle of a long stream: the stream must end whole, then the server.

    On a busy machine a server may come to send its first chunk when all are there: it is asked
    again until a stream has begun and not ended.
    """
    streams: list[Stream] = []

    def begun() -> threading.Thread:
        streams.clear()
        first_line = threading.Event()
        request = threading.Thread(
            target=lambda: streams.append(server.complete(model, prompt, LONG_TOKENS, first_line))
        )
        request.start()
        assert first_line.wait(timeout=60)
        return request

    request = next(one for one in (begun() for _ in range(10)) if one.is_alive() and not streams)
    server.child.terminate()
    request.join(timeout=60)
    assert server.child.wait(timeout=60) == 0
    (stream,) = streams
    return stream.done and stream.usage["completion_tokens"] == LONG_TOKENS


@pytest.mark.usefixtures("tiny_model")
def test_an_engine_of_another_version_is_refused(vllm_executable: str, run_dir: Path):
    plan = planned(vllm_executable)
    engine = plan.fleet.engine.model_copy(update={"version": "0.33.0"})
    plan = plan.model_copy(update={"fleet": plan.fleet.model_copy(update={"engine": engine})})
    with pytest.raises(InputError, match=r"engine.version is 0.33.0, but .* is vLLM 0.32.0"):
        process.processes(plan, run_dir, [replica()])


def test_an_option_that_vllm_refuses_is_named(
    vllm_executable: str, tiny_model: Path, run_dir: Path
):
    (spec,) = process.processes(planned(vllm_executable), run_dir, [replica()])
    spec = spec.model_copy(update={"argv": [*spec.argv, "--max-model-len", "99999999"]})
    with serve(spec) as server:
        code = server.child.wait(timeout=200)
        reason = process.death_reason(code, "\n".join(server.log()[-200:]))
    assert "max_model_len (99999999) is greater than the derived max_model_len" in reason
