"""A replica's `/metrics` at one moment: only what the page shows, read fast.

A page of vLLM has some five hundred lines; those that are not wanted are skipped before anything
is parsed, so that 96 replicas every two seconds cost a few percent of a core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from headrace.monitoring import metrics as names

GAUGES = {m.name: m.name for m in (names.RUNNING, names.WAITING, names.KV_USAGE)}
COUNTERS = tuple(
    m.name
    for m in (
        *(names.PROMPT_TOKENS, names.OUTPUT_TOKENS, names.PREEMPTIONS),
        *(names.DRAFTED, names.ACCEPTED, names.FINISHED),
    )
)
HISTOGRAMS = (names.TTFT.name, names.TPOT.name)
SUMS = tuple(f"{names.TPOT.name}{end}" for end in ("_sum", "_count"))
"""For a mean: the buckets of TPOT are too wide for a median of single milliseconds."""
WANTED = (*GAUGES, *COUNTERS, *SUMS, *(f"{name}_bucket" for name in HISTOGRAMS))

Buckets = dict[float, float]
"""Cumulative counts by upper bound."""


@dataclass(frozen=True)
class ReplicaSample:
    """One replica, its engine cores taken together. KV use is the fullest core's, 0 to 1."""

    running: float = 0.0
    waiting: float = 0.0
    kv_usage: float = 0.0
    counters: Mapping[str, float] = field(default_factory=dict)
    failed: float = 0.0
    """Requests that ended in an error, since the server started."""
    histograms: Mapping[str, Buckets] = field(default_factory=dict)


def read_sample(text: str) -> ReplicaSample:
    """The body of `/metrics`. Raises ValueError when it is not in Prometheus' format."""
    lines = [line for line in text.splitlines() if line.startswith(WANTED)]
    running = waiting = kv_usage = failed = 0.0
    counters: dict[str, float] = {}
    histograms: dict[str, Buckets] = {name: {} for name in HISTOGRAMS}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for name, labels, value, *_ in family.samples:
            if name == names.RUNNING.name:
                running += value
            elif name == names.WAITING.name:
                waiting += value
            elif name == names.KV_USAGE.name:
                kv_usage = max(kv_usage, value)
            elif name.endswith("_bucket"):
                buckets = histograms[name.removesuffix("_bucket")]
                bound = float(labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + value
            else:
                counters[name] = counters.get(name, 0.0) + value
                if labels.get("finished_reason") == "error":
                    failed += value
    return ReplicaSample(running, waiting, kv_usage, counters, failed, histograms)


def quantile(q: float, before: Buckets, after: Buckets) -> float | None:
    """A quantile of what was observed in between, as Prometheus interpolates; None for nothing.

    Beyond the last finite bound it is that bound.
    """
    counts = [(bound, after[bound] - before.get(bound, 0.0)) for bound in sorted(after)]
    total = counts[-1][1] if counts else 0.0
    if total <= 0:
        return None
    rank, low, below = q * total, 0.0, 0.0
    for bound, count in counts:
        if count >= rank:
            if bound == float("inf"):
                return low
            inside = count - below
            return low + (bound - low) * ((rank - below) / inside if inside else 0.0)
        low, below = bound, count
    return low


def merged(parts: list[Buckets]) -> Buckets:
    """The buckets of several replicas as one histogram."""
    whole: Buckets = {}
    for part in parts:
        for bound, count in part.items():
            whole[bound] = whole.get(bound, 0.0) + count
    return whole
