"""The load generator's own closed loop in virtual time, on the simulated engine's own replicas."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from math import nan
from pathlib import Path

import pytest

from headrace.loadgen import client, closed, driver, exchange
from headrace.loadgen.client import Stream
from headrace.loadgen.closed import ClosedLoop
from headrace.loadgen.endpoint import Endpoint
from headrace.loadgen.exchange import Request
from headrace.loadgen.job import Job
from headrace.loadgen.records import Records, load_records
from headrace.loadgen.share import make_jobs
from headrace.loadgen.spec import BenchSpec
from headrace.loadgen.trail import Trail
from headrace.loadgen.window import Window, find_window
from tests.simulator.virtual_engine import VirtualEngine

CLOCKED = (client, closed, driver, exchange)
"""Modules of the load generator that look at the clock."""


@dataclass
class Sent:
    """One request; times are the client's."""

    replica: int
    sent_s: float
    first_s: float = nan
    done_s: float = nan


@dataclass(frozen=True)
class Loaded:
    """What the load generator leaves, and all requests in the order of sending."""

    sent: list[Sent]
    records: Records
    window: Window


class VirtualClosedLoop(ClosedLoop):
    """Lanes, ramp, phases and records are the load generator's. Only the wire and the clock are
    not: connections take no time, requests and tokens as long as the engine says.
    """

    def __init__(self, job: Job, trail: Trail, engine: VirtualEngine) -> None:
        super().__init__(job, trail, [b""] * len(job.endpoints))
        self.engine = engine
        self.sent: list[Sent] = []

    def launch(self, request: Request, stream: Stream | None) -> None:
        """Send it, now."""
        self.running += 1
        stream = stream or self._connected()
        stream.begin(request)
        stream.waiting = request
        stream.sent_s = self.engine.loop.time()
        sent, ask = Sent(request.url, stream.sent_s), request.ask
        self.sent.append(sent)
        hear = partial(self._hear, stream, request, sent)
        self.engine.ask(request.url, ask.prompt_tokens, ask.output_tokens, hear)

    def _connected(self) -> Stream:
        stream = Stream(self)
        stream.usable = True
        return stream

    def _hear(self, stream: Stream, request: Request, sent: Sent, finished: bool) -> None:
        """A chunk of the answer, and what follows the last one."""
        now_s = self.engine.loop.time()
        stream.take({"choices": [{"text": "x"}]}, now_s)
        sent.first_s = stream.first_s
        if finished:
            sent.done_s = now_s
            counts = request.ask.prompt_tokens, request.ask.output_tokens
            stream.usage = dict(zip(("prompt_tokens", "completion_tokens"), counts, strict=True))
            stream.event(b"[DONE]", now_s)
            stream._release()


def load_closed(
    spec: BenchSpec, engine: VirtualEngine, folder: Path, patch: pytest.MonkeyPatch
) -> Loaded:
    """Hold the load until the window is over, and find what is measured as `run_bench` does."""
    for module in CLOCKED:
        patch.setattr(module, "perf_counter", engine.loop.time)
    endpoints = [Endpoint("127.0.0.1", 1, False, "") for _ in spec.urls]
    (job,) = make_jobs(spec, endpoints, folder)
    assert spec.duration_s is not None
    sent, warm_s = asyncio.run(_play(job, spec.duration_s, engine, folder))
    records = load_records(folder, [0.0])
    window = find_window(records, warm_s, spec.duration_s, warm_s + spec.duration_s)
    return Loaded(sent, records, window)


async def _play(
    job: Job, duration_s: float, engine: VirtualEngine, folder: Path
) -> tuple[list[Sent], float]:
    """What was sent, and when it was warm. A coroutine, for drivers want a loop that runs."""
    trail = Trail(folder, 0)
    load = VirtualClosedLoop(job, trail, engine)
    load.start(0.0)
    while load.warm_left or engine.loop.next_s <= load.warm_s + duration_s:
        engine.loop.step()
    load.stop()
    trail.close()
    return load.sent, load.warm_s
