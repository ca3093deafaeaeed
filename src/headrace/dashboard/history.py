"""What the page draws: rates, percentiles and loads between one look at the fleet and the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.dashboard.sample import SUMS, ReplicaSample, merged, quantile
from headrace.monitoring import metrics as names

POINTS = 450
"""A quarter of an hour at a look every two seconds."""
MS = 1000.0
SERIES = (
    *("total_tok_s", "output_tok_s", "ttft_p50_ms", "ttft_p99_ms", "tpot_mean_ms", "tpot_p99_ms"),
    *("running", "waiting", "kv_usage", "acceptance", "errors_s", "imbalance"),
)


@dataclass(frozen=True)
class Look:
    """The whole fleet at one moment, by the monotonic clock: the other one may jump.

    A replica that did not answer is missing. `refused` counts what the gateways answered with 4xx
    or 5xx by themselves or from a replica.
    """

    at_s: float
    replicas: Mapping[str, ReplicaSample]
    refused: float = 0.0


@dataclass
class History:
    """Series over the last looks, and each replica's present load."""

    at_s: deque[float] = field(default_factory=lambda: deque(maxlen=POINTS))
    series: dict[str, deque[float | None]] = field(
        default_factory=lambda: {name: deque(maxlen=POINTS) for name in SERIES}
    )
    loads: dict[str, dict[str, float]] = field(default_factory=dict)
    _last: Look | None = None

    def add(self, look: Look) -> None:
        """Take in a look; the first one only begins the counting."""
        last, self._last = self._last, look
        if last is None or look.at_s <= last.at_s:
            return
        self.at_s.append(look.at_s)
        for name, value in _point(last, look).items():
            self.series[name].append(value)
        self.loads = {name: _load(name, last, look) for name in look.replicas}

    def document(self, epoch_s: float = 0.0) -> dict[str, Any]:
        """What the page reads; `epoch_s` is what the monotonic clock lacks to Unix time."""
        return {
            "at_s": [epoch_s + at_s for at_s in self.at_s],
            "series": {name: list(values) for name, values in self.series.items()},
            "loads": self.loads,
        }


def _point(last: Look, look: Look) -> dict[str, float | None]:
    span_s = look.at_s - last.at_s
    output = _increase(last, look, names.OUTPUT_TOKENS.name)
    prompt = _increase(last, look, names.PROMPT_TOKENS.name)
    drafted = _increase(last, look, names.DRAFTED.name)
    accepted = _increase(last, look, names.ACCEPTED.name)
    running = [sample.running for sample in look.replicas.values()]
    failed = _failed(look) - _failed(last) + look.refused - last.refused
    mean = sum(running) / len(running) if running else 0.0
    point: dict[str, float | None] = {
        "total_tok_s": (output + prompt) / span_s,
        "output_tok_s": output / span_s,
        "running": sum(running),
        "waiting": sum(sample.waiting for sample in look.replicas.values()),
        "kv_usage": max((sample.kv_usage for sample in look.replicas.values()), default=0.0),
        "acceptance": accepted / drafted if drafted else None,
        "errors_s": max(0.0, failed) / span_s,
        "imbalance": max(running) / mean if mean else None,
    }
    for short, metric in (("ttft", names.TTFT), ("tpot", names.TPOT)):
        before, after = _buckets(last, metric.name), _buckets(look, metric.name)
        for q, label in ((0.5, "p50"), (0.99, "p99")):
            found = quantile(q, before, after)
            point[f"{short}_{label}_ms"] = None if found is None else found * MS
    tpot_s, ended = (_increase(last, look, name) for name in SUMS)
    del point["tpot_p50_ms"]
    point["tpot_mean_ms"] = tpot_s / ended * MS if ended else None
    return point


def _load(name: str, last: Look, look: Look) -> dict[str, float]:
    now = look.replicas[name]
    before = last.replicas.get(name, now)
    output = names.OUTPUT_TOKENS.name
    grown = now.counters.get(output, 0.0) - before.counters.get(output, 0.0)
    return {
        "running": now.running,
        "waiting": now.waiting,
        "kv_usage": now.kv_usage,
        "output_tok_s": max(0.0, grown) / (look.at_s - last.at_s),
    }


def _increase(last: Look, look: Look, counter: str) -> float:
    """Over the replicas that were there both times; a counter that began anew counts from zero."""
    total = 0.0
    for name, sample in look.replicas.items():
        now = sample.counters.get(counter, 0.0)
        earlier = last.replicas.get(name)
        before = earlier.counters.get(counter, 0.0) if earlier else now
        total += now - before if now >= before else now
    return total


def _buckets(look: Look, name: str) -> dict[float, float]:
    return merged([sample.histograms.get(name, {}) for sample in look.replicas.values()])


def _failed(look: Look) -> float:
    return sum(sample.failed for sample in look.replicas.values())
