"""A run's result in numbers: `summary.json`."""

from __future__ import annotations

from math import nan
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
    p95: float = nan
    """Not a number in summaries that were written before it was measured."""
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


class Server(_Part):
    """What the servers' own /metrics said over the measured window, all of them together."""

    urls: int
    running_mean: float
    waiting_mean: float
    waiting_max: int
    kv_usage_max: float
    """Share of the cache in use, of the fullest server."""
    input_tok_s: float
    output_tok_s: float
    preemptions: int
    prefix_hit_rate: float | None
    acceptance: float | None
    """Share of drafted tokens that were accepted; None where nothing was drafted."""


class GpuUse(_Part):
    """One GPU of the fleet over the measured window. What its driver does not tell is None."""

    node: str
    index: int
    name: str
    busy_percent: float
    """Share of the time in which some kernel ran, by the driver."""
    power_w: float | None
    power_limit_w: float | None
    power_limited: float | None
    """Share of the time in which that limit held its clock down."""
    clock_mhz: float | None
    clock_max_mhz: int | None


class Chunks(_Part):
    """What came in chunks, over the completed requests."""

    tokens_per_chunk: float
    reasoning: int
    """Chunks of a chat that brought reasoning, and"""
    tool_calls: int
    """those that brought a tool call; all others brought text."""


class Client(_Part):
    """What the load generator spent."""

    processes: int
    cpu_s: float
    chunks: int
    chunks_per_cpu_s: float
    lag_ms: Lag
    kernel_timed: float = 0.0
    """Share of the chunks that count from when the kernel received them; all others count from
    when they were read."""
    vague: float = 0.0
    """Share of the chunks of which it is not known to 11 ms when they came."""
    compiled: float = 0.0
    """Share of the chunks that compiled code took in; plain Python takes the others."""


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
    chunks: Chunks | None = None
    """None when no request completed."""
    cached_input_tokens: int = 0
    """Input tokens that the servers' usage blocks call cached, where they say so."""
    ttfc_ms: Distribution | None = None
    """Chat that reasons or calls tools: from the request to its first token of text."""
    server: Server | None = None
    """None where no server has vLLM's /metrics, or they were not read."""
    gpus: list[GpuUse] = []
    """Only of fleets that Headrace started, with NVML on their machines; none of simulated ones."""
    environment: dict[str, Any]
