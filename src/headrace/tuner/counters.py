"""What the engines count while they are loaded: rates without waiting for a request to end.

A request of 512 tokens takes half a minute or more on a full GPU, and only completed ones count in
a summary. The engines' own counters move with every step, so they show the steady state sooner,
and how many sequences really ran.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from headrace.engines.vllm.metrics import EngineMetrics, read_metrics
from headrace.loadgen.endpoint import parse_endpoint, resolve
from headrace.loadgen.preflight import fetch
from headrace.sampling import Sampling

EVERY_S = 1.0


@dataclass(frozen=True)
class Reading:
    """All engines of a fleet at one moment, taken together."""

    at_s: float
    """Seconds since the watch began."""
    running: int
    waiting: int
    kv_usage: float
    prompt_tokens: int
    generation_tokens: int
    preemptions: int
    drafted_tokens: int
    accepted_tokens: int


@dataclass(frozen=True)
class Rates:
    """What the engines did between two readings."""

    prompt_tok_s: float
    output_tok_s: float
    running_mean: float

    @property
    def total_tok_s(self) -> float:
        """Prompt and generated tokens alike."""
        return self.prompt_tok_s + self.output_tok_s


def rates(readings: Sequence[Reading], last_s: float) -> Rates | None:
    """Over the last `last_s` seconds of the readings; None while there are too few."""
    if not readings:
        return None
    end = readings[-1]
    inside = [r for r in readings if r.at_s >= end.at_s - last_s]
    span_s = end.at_s - inside[0].at_s
    if span_s <= 0:
        return None
    return Rates(
        prompt_tok_s=(end.prompt_tokens - inside[0].prompt_tokens) / span_s,
        output_tok_s=(end.generation_tokens - inside[0].generation_tokens) / span_s,
        running_mean=sum(r.running for r in inside) / len(inside),
    )


class Counters(Sampling):
    """Reads `/metrics` of every replica once a second, in a thread, until its block is left.

    Every reading is also a line of `path` (JSON), written as it comes. A replica that does not
    answer is left out of a reading's sums, so such a reading is dropped whole.
    """

    def __init__(self, urls: Sequence[str], path: Path) -> None:
        super().__init__()
        self.readings: list[Reading] = []
        self._endpoints = [resolve(parse_endpoint(url)) for url in urls]
        self._path = path

    def _sample(self) -> None:
        began_s = time.monotonic()
        with self._path.open("ab") as file:
            for _ in self._every(EVERY_S):
                reading = self._read(began_s)
                if reading is not None:
                    self.readings.append(reading)
                    file.write(orjson.dumps(asdict(reading)) + b"\n")
                    file.flush()

    def _read(self, began_s: float) -> Reading | None:
        pages = [fetch(endpoint, "/metrics", None) for endpoint in self._endpoints]
        if not all(pages):
            return None
        at_s = round(time.monotonic() - began_s, 3)
        try:
            return _summed(at_s, [read_metrics(page.decode()) for page in pages])
        except ValueError:
            return None


def _summed(at_s: float, found: Sequence[EngineMetrics]) -> Reading:
    return Reading(
        at_s=at_s,
        running=sum(m.running for m in found),
        waiting=sum(m.waiting for m in found),
        kv_usage=max(m.kv_usage for m in found),
        prompt_tokens=sum(m.prompt_tokens for m in found),
        generation_tokens=sum(m.generation_tokens for m in found),
        preemptions=sum(m.preemptions for m in found),
        drafted_tokens=sum(m.drafted_tokens for m in found),
        accepted_tokens=sum(m.accepted_tokens for m in found),
    )
