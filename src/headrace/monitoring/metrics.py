"""The metrics that a fleet exposes, by the names that Prometheus stores them under.

The one list that alert rules, dashboards and autoscalers are made from. vLLM's names are those of
0.18 to 0.33 (read in its sources); Envoy's are those of its `/stats/prometheus`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headrace.engines.vllm import metrics as vllm

Kind = Literal["gauge", "counter", "histogram"]
Source = Literal["engine", "gateway"]


@dataclass(frozen=True)
class Metric:
    """One metric family. A histogram's series end in `_bucket`, `_sum` and `_count`."""

    name: str
    kind: Kind
    source: Source
    unit: str
    text: str
    optional: bool = False
    """Exposed only while a feature is on (drafting, for one)."""


RUNNING = Metric(vllm.RUNNING, "gauge", "engine", "requests", "Requests in the batch")
WAITING = Metric(vllm.WAITING, "gauge", "engine", "requests", "Requests that wait for the batch")
KV_USAGE = Metric(vllm.KV_USAGE, "gauge", "engine", "share", "KV cache in use, 0 to 1")
PREEMPTIONS = Metric(vllm.PREEMPTIONS, "counter", "engine", "requests", "Preempted requests")
PROMPT_TOKENS = Metric(vllm.PROMPT_TOKENS, "counter", "engine", "tokens", "Prompt tokens")
OUTPUT_TOKENS = Metric(vllm.GENERATION_TOKENS, "counter", "engine", "tokens", "Generated tokens")
PREFIX_QUERIES = Metric(vllm.PREFIX_QUERIES, "counter", "engine", "tokens", "Tokens looked up")
PREFIX_HITS = Metric(vllm.PREFIX_HITS, "counter", "engine", "tokens", "Tokens found in the cache")
DRAFTED = Metric(
    vllm.DRAFTED_TOKENS, "counter", "engine", "tokens", "Drafted tokens", optional=True
)
ACCEPTED = Metric(
    vllm.ACCEPTED_TOKENS, "counter", "engine", "tokens", "Accepted drafted tokens", optional=True
)
FINISHED = Metric("vllm:request_success_total", "counter", "engine", "requests", "Requests ended")
TTFT = Metric(
    "vllm:time_to_first_token_seconds", "histogram", "engine", "seconds", "Time to first token"
)
TPOT = Metric(
    "vllm:request_time_per_output_token_seconds",
    "histogram",
    "engine",
    "seconds",
    "Time per output token, per request",
)
ITL = Metric(
    "vllm:inter_token_latency_seconds", "histogram", "engine", "seconds", "Inter-token latency"
)
E2E = Metric("vllm:e2e_request_latency_seconds", "histogram", "engine", "seconds", "Whole request")
QUEUE = Metric(
    "vllm:request_queue_time_seconds", "histogram", "engine", "seconds", "Time in the queue"
)

GATEWAY_ACTIVE = Metric(
    "envoy_cluster_upstream_rq_active", "gauge", "gateway", "requests", "Requests in flight"
)
GATEWAY_REQUESTS = Metric(
    "envoy_cluster_upstream_rq_xx", "counter", "gateway", "requests", "Answers by status class"
)
GATEWAY_HEALTHY = Metric(
    "envoy_cluster_membership_healthy", "gauge", "gateway", "replicas", "Replicas that are healthy"
)
GATEWAY_TOTAL = Metric(
    "envoy_cluster_membership_total", "gauge", "gateway", "replicas", "Replicas that are known"
)
GATEWAY_RETRIES = Metric(
    "envoy_cluster_upstream_rq_retry", "counter", "gateway", "requests", "Retried requests"
)

METRICS: tuple[Metric, ...] = (
    *(RUNNING, WAITING, KV_USAGE, PREEMPTIONS, PROMPT_TOKENS, OUTPUT_TOKENS),
    *(PREFIX_QUERIES, PREFIX_HITS, DRAFTED, ACCEPTED, FINISHED, TTFT, TPOT, ITL, E2E, QUEUE),
    *(GATEWAY_ACTIVE, GATEWAY_REQUESTS, GATEWAY_HEALTHY, GATEWAY_TOTAL, GATEWAY_RETRIES),
)

GONE: dict[str, str] = {
    "vllm:gpu_cache_usage_perc": vllm.KV_USAGE,
    "vllm:cpu_cache_usage_perc": "",
    "vllm:num_requests_swapped": vllm.PREEMPTIONS,
    "vllm:gpu_prefix_cache_queries_total": vllm.PREFIX_QUERIES,
    "vllm:gpu_prefix_cache_hits_total": vllm.PREFIX_HITS,
    "vllm:gpu_prefix_cache_hit_rate": vllm.PREFIX_HITS,
    "vllm:time_per_output_token_seconds": TPOT.name,
}
"""Names that vLLM no longer exposes, and what to read instead; rules that use one never fire."""


def gone_names(expression: str) -> dict[str, str]:
    """The names in a PromQL expression (or a metric's name) that vLLM no longer exposes."""
    return {name: instead for name, instead in GONE.items() if name in expression}
