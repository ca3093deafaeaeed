"""A replica's /metrics page, with the names that vLLM 0.33 uses."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headrace.engines.simulated.metrics import Histogram
from headrace.engines.simulated.replica import Replica

CONTENT_TYPE = CONTENT_TYPE_LATEST
LABELS = ["model_name", "engine"]


def metrics_page(replica: Replica, model: str) -> bytes:
    """The page as Prometheus reads it."""
    registry = CollectorRegistry()
    registry.register(ReplicaCollector(replica, model))
    return generate_latest(registry)


class ReplicaCollector(Collector):
    """Turns counts into metric families when they are asked for."""

    def __init__(self, replica: Replica, model: str) -> None:
        self._replica = replica
        self._values = [model, "0"]

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._gauges()
        yield from self._counters()
        yield from self._drafting()
        yield from self._histograms()
        yield from self._lag()

    def _gauges(self) -> Iterator[Metric]:
        scheduler = self._replica.scheduler
        yield self._gauge("vllm:num_requests_running", "Requests in the batch.", scheduler.running)
        yield self._gauge("vllm:num_requests_waiting", "Requests queued.", scheduler.waiting)
        by_reason = GaugeMetricFamily(
            "vllm:num_requests_waiting_by_reason",
            "Requests queued, by cause.",
            labels=[*LABELS, "reason"],
        )
        by_reason.add_metric([*self._values, "capacity"], scheduler.waiting)
        by_reason.add_metric([*self._values, "deferred"], 0)
        yield by_reason
        usage = scheduler.cache_usage
        yield self._gauge(
            "vllm:kv_cache_usage_perc", "Share of cache pages in use (1 = all).", usage
        )
        sleep = GaugeMetricFamily(
            "vllm:engine_sleep_state", "Whether the engine sleeps.", labels=[*LABELS, "sleep_state"]
        )
        for state, value in (("awake", 1), ("weights_offloaded", 0), ("discard_all", 0)):
            sleep.add_metric([*self._values, state], value)
        yield sleep

    def _counters(self) -> Iterator[Metric]:
        counters = self._replica.scheduler.counters
        values = {
            "vllm:num_preemptions": ("Preemptions.", counters.preemptions),
            "vllm:prompt_tokens": ("Prompt tokens.", counters.prompt_tokens),
            "vllm:generation_tokens": ("Generated tokens.", counters.generated_tokens),
            "vllm:prompt_tokens_cached": ("Cached prompt tokens.", counters.cached_tokens),
            "vllm:prefix_cache_queries": ("Tokens looked up.", counters.prompt_tokens),
            "vllm:prefix_cache_hits": ("Tokens found.", counters.cached_tokens),
            "vllm:external_prefix_cache_queries": ("Tokens looked up elsewhere.", 0),
            "vllm:external_prefix_cache_hits": ("Tokens found elsewhere.", 0),
            "vllm:admission_rejections": ("Requests refused at admission.", 0),
        }
        for name, (text, value) in values.items():
            yield self._counter(name, text, value)
        success = CounterMetricFamily(
            "vllm:request_success", "Requests ended.", labels=[*LABELS, "finished_reason"]
        )
        for reason, count in self._replica.metrics.finished.items():
            success.add_metric([*self._values, reason], count)
        yield success

    def _drafting(self) -> Iterator[Metric]:
        depth = self._replica.model.scheduler.mtp_depth
        if depth == 0:
            return
        counters = self._replica.scheduler.counters
        name = "vllm:spec_decode_num"
        yield self._counter(f"{name}_drafts", "Verifications.", counters.drafts)
        yield self._counter(f"{name}_draft_tokens", "Drafted tokens.", counters.drafts * depth)
        yield self._counter(
            f"{name}_accepted_tokens", "Accepted drafted tokens.", counters.accepted_tokens
        )
        positions = CounterMetricFamily(
            f"{name}_accepted_tokens_per_pos",
            "Accepted, by position.",
            labels=[*LABELS, "position"],
        )
        for position, count in enumerate(counters.accepted_per_position):
            positions.add_metric([*self._values, str(position)], count)
        yield positions

    def _histograms(self) -> Iterator[Metric]:
        metrics = self._replica.metrics
        seconds = {
            "time_to_first_token": metrics.first_token,
            "inter_token_latency": metrics.between_tokens,
            "request_time_per_output_token": metrics.per_output_token,
            "e2e_request_latency": metrics.end_to_end,
            "request_queue_time": metrics.queue,
            "request_prefill_time": metrics.prefill,
            "request_decode_time": metrics.decode,
            "request_inference_time": metrics.inference,
        }
        for name, histogram in seconds.items():
            yield self._histogram(f"vllm:{name}_seconds", "Seconds.", histogram)
        yield self._histogram("vllm:request_prompt_tokens", "Tokens.", metrics.prompt_lengths)
        yield self._histogram("vllm:request_generation_tokens", "Tokens.", metrics.output_lengths)
        yield self._histogram("vllm:iteration_tokens_total", "Tokens.", metrics.step_tokens)

    def _lag(self) -> Iterator[Metric]:
        """How well this machine kept up with the simulated one."""
        clock, name = self._replica.clock, "headrace_simulated_lag_seconds"
        lag = SummaryMetricFamily(name, "How late steps ended.", labels=LABELS)
        lag.add_metric(self._values, clock.steps, clock.lag_sum_s)
        yield lag
        yield self._gauge(f"{name}_max", "The latest end of a step.", clock.lag_max_s)
        yield self._gauge(f"{name}_given_up", "Lag never caught up.", clock.given_up_s)

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=LABELS)
        family.add_metric(self._values, value)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(name, text, labels=LABELS)
        family.add_metric(self._values, value)
        return family

    def _histogram(self, name: str, text: str, histogram: Histogram) -> Metric:
        family = HistogramMetricFamily(name, text, labels=LABELS)
        family.add_metric(self._values, histogram.buckets(), histogram.total)
        return family
