"""A run's result in numbers: `summary.json`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from headrace.spec.slo import Metric


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Requests(_Part):
    """Counts of the measured requests (the first wave and the fill at the end are not in them)."""

    asked: int
    completed: int
    failed: int
    errors: dict[str, int]
    """Failures by kind: connect, timeout, http_500, cut_stream, no_usage, ..."""
    examples: dict[str, str] = {}
    """What the server said the first time, by kind of failure."""
    warmup: int = 0
    """First-wave requests, sent before the measured window to desynchronise the fleet."""
    cut: int = 0
    """Requests still in flight when the measurement ended; neither completed nor failed."""


class Tokens(_Part):
    """Tokens of the requests completed in the measured window, from the servers' usage blocks."""

    input: int
    output: int


class Throughput(_Part):
    """Rates over the measured window."""

    total_tok_s: float
    output_tok_s: float
    request_s: float


class Distribution(_Part):
    """Percentiles from exact data."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


class Latency(_Part):
    """All in milliseconds. Definitions: docs/reference/metrics.md."""

    ttft: Distribution
    tpot: Distribution
    itl: Distribution
    e2e: Distribution

    def at(self, metric: Metric, percentile: int) -> float:
        """One percentile of one latency."""
        value: float = getattr(getattr(self, metric), f"p{percentile}")
        return value


class Concurrency(_Part):
    """Requests in flight over the measured window; `asked` is None in open loop."""

    asked: int | None
    mean: float
    max: int


class Lag(_Part):
    """How late the client itself was, in milliseconds."""

    p50: float
    p99: float


class Client(_Part):
    """What the load generator spent."""

    processes: int
    cpu_s: float
    chunks: int
    chunks_per_cpu_s: float
    lag_ms: Lag


class Goodput(_Part):
    """Requests that met the SLO."""

    request_s: float
    share: float
    slo: dict[str, float]


class PlanComparison(_Part):
    """Measured beside predicted; ratios are measured / predicted. Only in `headrace run`."""

    predicted_total_tok_s: float
    predicted_output_tok_s: float
    predicted_tpot_ms: float
    predicted_ttft_ms: float
    total_tok_s_ratio: float
    tpot_ratio: float
    ttft_ratio: float


class Summary(_Part):
    """`summary.json`. `engine` is `vllm 0.33.0` or `simulated`, never left out."""

    valid: bool
    invalid_reasons: list[str]
    engine: str
    model: str
    requests: Requests
    duration_s: float
    tokens: Tokens
    throughput: Throughput
    latency_ms: Latency | None
    """None when no request completed."""
    concurrency: Concurrency
    client: Client
    goodput: Goodput | None
    usd_per_million_tokens: float | None
    per_replica: dict[str, int]
    """Completed requests by the replica that served them, where the gateway says which."""
    plan: PlanComparison | None = None
    environment: dict[str, Any]
