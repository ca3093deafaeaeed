"""The servers' own metrics, read while they are loaded: `server.parquet`, and a line of sums.

`server.parquet` has one row per server and reading: `at_s` (from the start of the load), `url` (its
place in the list) and what `/metrics` said: `running`, `waiting`, `kv_usage`, and the counters
`prompt_tokens`, `generation_tokens`, `preemptions`, `drafted_tokens`, `accepted_tokens`,
`prefix_queries_tokens`, `prefix_hits_tokens`, which count from the server's own start.
"""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path

import numpy as np

from headrace.engines.vllm.metrics import EngineMetrics, read_metrics
from headrace.loadgen.endpoint import Endpoint
from headrace.loadgen.parquet import write_parquet
from headrace.loadgen.preflight import fetch
from headrace.loadgen.summary import Server
from headrace.loadgen.window import Window
from headrace.sampling import Sampling

NAMES = tuple(field.name for field in fields(EngineMetrics))
Reading = tuple[float, int, EngineMetrics]
"""When (perf_counter clock), which server, what it said."""


class Scrape(Sampling):
    """A context manager: reads every server's /metrics every so often, in a thread of its own.

    A server without that page, or with one that says nothing of vLLM, is asked once.
    """

    def __init__(self, endpoints: list[Endpoint], key: str | None, every_s: float | None) -> None:
        super().__init__()
        self.readings: list[Reading] = []
        self._key = key
        self._every_s = every_s or 0.0
        self._left = dict(enumerate(endpoints)) if every_s else {}

    def _sample(self) -> None:
        for _ in self._every(self._every_s, at_once=True):
            if not self._left:
                return
            for place, endpoint in list(self._left.items()):
                self._read(place, endpoint)

    def _read(self, place: int, endpoint: Endpoint) -> None:
        page = fetch(endpoint, "/metrics", self._key)
        if b"vllm:num_requests_running" not in page:
            del self._left[place]
            return
        try:
            found = read_metrics(page.decode())
        except ValueError:
            del self._left[place]
            return
        self.readings.append((time.perf_counter(), place, found))


def write_scrape(readings: list[Reading], start_s: float, path: Path) -> None:
    """Write `server.parquet`; nothing when there were no readings."""
    if not readings:
        return
    columns = {
        "at_s": np.array([at_s - start_s for at_s, _, _ in readings]),
        "url": np.array([url for _, url, _ in readings], np.int32),
    }
    columns |= {name: np.array([float(getattr(m, name)) for *_, m in readings]) for name in NAMES}
    write_parquet(columns, ", ".join(columns), "order by at_s, url", path)


def sum_up(readings: list[Reading], start_s: float, window: Window) -> Server | None:
    """The servers in the measured window; None without at least two readings of one in it."""
    low, high = window.start_s + start_s, window.end_s + start_s
    inside = [reading for reading in readings if low <= reading[0] <= high]
    per_url: dict[int, list[Reading]] = {}
    for reading in inside:
        per_url.setdefault(reading[1], []).append(reading)
    spans = [found for found in per_url.values() if len(found) > 1]
    if not spans:
        return None

    def rise(name: str) -> float:
        return float(sum(getattr(s[-1][2], name) - getattr(s[0][2], name) for s in spans))

    def mean(name: str) -> float:
        return float(sum(np.mean([getattr(m, name) for *_, m in span]) for span in spans))

    span_s = float(np.mean([span[-1][0] - span[0][0] for span in spans]))
    queries, drafted = rise("prefix_queries_tokens"), rise("drafted_tokens")
    return Server(
        urls=len(spans),
        running_mean=mean("running"),
        waiting_mean=mean("waiting"),
        waiting_max=max(m.waiting for *_, m in inside),
        kv_usage_max=max(m.kv_usage for *_, m in inside),
        input_tok_s=rise("prompt_tokens") / span_s,
        output_tok_s=rise("generation_tokens") / span_s,
        preemptions=int(rise("preemptions")),
        prefix_hit_rate=rise("prefix_hits_tokens") / queries if queries else None,
        acceptance=rise("accepted_tokens") / drafted if drafted else None,
    )
