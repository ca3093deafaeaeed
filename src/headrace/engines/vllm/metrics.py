"""What vLLM's `/metrics` says, by its present names (0.18 to 0.33)."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_USAGE = "vllm:kv_cache_usage_perc"
PROMPT_TOKENS = "vllm:prompt_tokens_total"
GENERATION_TOKENS = "vllm:generation_tokens_total"
PREEMPTIONS = "vllm:num_preemptions_total"
DRAFTED_TOKENS = "vllm:spec_decode_num_draft_tokens_total"
ACCEPTED_TOKENS = "vllm:spec_decode_num_accepted_tokens_total"
PREFIX_QUERIES = "vllm:prefix_cache_queries_total"
PREFIX_HITS = "vllm:prefix_cache_hits_total"


@dataclass(frozen=True)
class EngineMetrics:
    """A server at one moment, its engine cores taken together. Counters start with the server."""

    running: int
    waiting: int
    kv_usage: float
    """Share of the cache in use, 0 to 1; of the fullest engine core."""
    prompt_tokens: int
    generation_tokens: int
    preemptions: int
    drafted_tokens: int
    accepted_tokens: int
    prefix_queries_tokens: int
    prefix_hits_tokens: int

    @property
    def acceptance(self) -> float | None:
        """Share of drafted tokens that were accepted; None when nothing was drafted."""
        return self.accepted_tokens / self.drafted_tokens if self.drafted_tokens else None


def read_metrics(text: str) -> EngineMetrics:
    """The body of `/metrics`. What is not exposed (drafting, when off) counts as zero.

    Raises ValueError when the text is not in Prometheus' format.
    """
    values: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("vllm:"):
                values.setdefault(sample.name, []).append(sample.value)

    def total(name: str) -> int:
        return int(sum(values.get(name, ())))

    return EngineMetrics(
        running=total(RUNNING),
        waiting=total(WAITING),
        kv_usage=max(values.get(KV_USAGE, [0.0])),
        prompt_tokens=total(PROMPT_TOKENS),
        generation_tokens=total(GENERATION_TOKENS),
        preemptions=total(PREEMPTIONS),
        drafted_tokens=total(DRAFTED_TOKENS),
        accepted_tokens=total(ACCEPTED_TOKENS),
        prefix_queries_tokens=total(PREFIX_QUERIES),
        prefix_hits_tokens=total(PREFIX_HITS),
    )
