"""When a measurement is not to be trusted, and why. All thresholds are here."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.loadgen.spec import BenchSpec
from headrace.loadgen.summary import Client, Latency

CPU_SHARE_MAX = 0.95
"""A worker that uses more of its processor than this was the bottleneck."""
CPU_WINDOW_MIN_S = 1.0
"""Shorter windows say nothing about processor use: it is sampled four times a second."""
LAG_P99_MAX_MS = 20.0
LAG_ITL_SHARE_MAX = 0.25
"""The client's lag p99 may be the larger of the two: 20 ms, or this share of the ITL median."""
KERNEL_TIMED_MIN = 0.99
VAGUE_SHARE_MAX = 0.01
"""Or anything, with a held concurrency, while the kernel timed this share of the chunks at least
and no more than that of them had merged before they were read: the percentiles are true then."""
CONCURRENCY_TOLERANCE = 0.02
"""How far the mean number of requests in flight may be from the asked one, and"""
TURNAROUND_MS = 3.0
"""how long a client may take from an answer to the next request, which short requests feel."""
FAILED_SHARE_MAX = 0.01
INPUT_TOLERANCE = 0.01
"""How far the mean prompt length that the server counted may be from the asked one."""
REMEDY = "raise --processes, or free processors for it"
WINDOW_MIN_S = 0.05
TOKENS_PER_CHUNK_MIN = 0.98
"""Chunks bring a token or more each; a few empty ones are no reason against a run."""


@dataclass(frozen=True)
class Evidence:
    """What the rules look at."""

    completed: int
    failed: int
    duration_s: float
    cpu_shares: list[float]
    client: Client
    latency: Latency | None
    concurrency_mean: float
    input_tokens: int
    """Of the requests whose prompt length is known: what the server counted, and"""
    prompt_tokens: int
    """what was sent."""
    tokens_per_chunk: float
    troubles: list[str]
    """What went wrong outside the figures: interrupted, a worker died, gave up."""
    warmup_errors: dict[str, int]


def invalid_reasons(spec: BenchSpec, seen: Evidence) -> list[str]:
    """Why the measurement is not valid, in words; empty when it is."""
    reasons = list(seen.troubles)
    asked = seen.completed + seen.failed
    if not seen.completed:
        return [*reasons, _nothing(seen)]
    if seen.failed > FAILED_SHARE_MAX * asked:
        reasons.append(f"{seen.failed} of {asked} requests failed ({seen.failed / asked:.1%})")
    return reasons + _window(spec, seen) + _client(spec, seen) + _load(spec, seen)


def _nothing(seen: Evidence) -> str:
    if seen.failed:
        return f"no request completed: all {seen.failed} failed"
    early = ", ".join(f"{count} {name}" for name, count in seen.warmup_errors.items())
    return f"no request completed (warm-up: {early})" if early else "no request completed"


def _window(spec: BenchSpec, seen: Evidence) -> list[str]:
    if seen.duration_s < WINDOW_MIN_S:
        return [f"the measured window is {seen.duration_s * 1e3:.0f} ms: ask for more requests"]
    e2e_s = seen.latency.e2e.mean / 1e3 if seen.latency else 0.0
    if spec.duration_s is not None and seen.duration_s < e2e_s:
        text = f"the measured window of {seen.duration_s:.1f} s is shorter than one request"
        return [f"{text} ({e2e_s:.1f} s): raise --duration"]
    return []


def _client(spec: BenchSpec, seen: Evidence) -> list[str]:
    reasons = []
    busiest = max(seen.cpu_shares, default=0.0)
    if seen.duration_s >= CPU_WINDOW_MIN_S and busiest > CPU_SHARE_MAX:
        reasons.append(
            f"the client was the bottleneck: a worker used {busiest:.0%} of its processor; "
            "raise --processes"
        )
    return reasons + _late(spec, seen)


def _late(spec: BenchSpec, seen: Evidence) -> list[str]:
    itl_ms = seen.latency.itl.p50 if seen.latency else 0.0
    limit_ms = max(LAG_P99_MAX_MS, LAG_ITL_SHARE_MAX * itl_ms)
    late_ms, vague = seen.client.lag_ms.p99, seen.client.vague
    timed = not spec.open_loop and seen.client.kernel_timed >= KERNEL_TIMED_MIN
    if late_ms <= limit_ms or (timed and vague <= VAGUE_SHARE_MAX):
        return []
    merged = f", and {vague:.1%} of the chunks merged before they were read" if timed else ""
    text = f"the client was late: lag p99 {late_ms:.0f} ms is over {limit_ms:.0f} ms{merged}"
    return [f"{text}; {REMEDY}"]


def _load(spec: BenchSpec, seen: Evidence) -> list[str]:
    reasons = []
    held = spec.start == "spread" and spec.turns == 1 and spec.dataset is None
    if held and spec.concurrency is not None:
        off = seen.concurrency_mean / spec.concurrency - 1
        e2e_ms = seen.latency.e2e.mean if seen.latency else 0.0
        lost = TURNAROUND_MS / (e2e_ms + TURNAROUND_MS)
        lost += (spec.refill - 1) / 2 / spec.concurrency
        if off > CONCURRENCY_TOLERANCE or off < -CONCURRENCY_TOLERANCE - lost:
            reasons.append(
                f"the load was not held: {seen.concurrency_mean:.1f} requests in flight on "
                f"average, {spec.concurrency} asked"
            )
    off = seen.input_tokens / seen.prompt_tokens - 1 if seen.prompt_tokens else 0.0
    if abs(off) > INPUT_TOLERANCE:
        reasons.append(
            f"the server counted {seen.input_tokens / seen.completed:.0f} prompt tokens on "
            f"average, {seen.prompt_tokens / seen.completed:.0f} were sent"
        )
    if seen.tokens_per_chunk < TOKENS_PER_CHUNK_MIN:
        reasons.append(
            f"the server sent more chunks than it counted tokens ({seen.tokens_per_chunk:.2f} "
            "tokens per chunk): its usage block is not to be trusted"
        )
    return reasons
