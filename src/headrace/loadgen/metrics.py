"""From records to figures. Definitions: TTFT is from sent (open loop: scheduled) to first token;
TPOT is (last token - first token) / (output tokens - 1) per request; ITL is the gap between two
successive chunks; e2e is from sent (scheduled) to `[DONE]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.loadgen.failure import end_name
from headrace.loadgen.records import Floats, Mask, Records
from headrace.loadgen.summary import Chunks, Distribution, Goodput, Lag, Latency, Throughput, Tokens
from headrace.loadgen.trail import TICK_FIELDS
from headrace.loadgen.window import Window
from headrace.spec.slo import strictest


@dataclass(frozen=True)
class RequestTimes:
    """Per completed request, in ms; TPOT is NaN where there was one token only."""

    ttft_ms: Floats
    tpot_ms: Floats
    e2e_ms: Floats


def request_times(records: Records, chosen: Mask, *, open_loop: bool) -> RequestTimes:
    """The times of the chosen rows."""
    rows = records.rows[chosen]
    began_s = rows["scheduled_s"] if open_loop else rows["sent_s"]
    steps = rows["output_tokens"].astype(float) - 1
    spans_ms = (rows["last_token_s"] - rows["first_token_s"]) * 1e3
    tpot_ms = np.full(len(rows), np.nan)
    np.divide(spans_ms, steps, out=tpot_ms, where=steps > 0)
    return RequestTimes(
        ttft_ms=(rows["first_token_s"] - began_s) * 1e3,
        tpot_ms=tpot_ms,
        e2e_ms=(rows["done_s"] - began_s) * 1e3,
    )


def latency(times: RequestTimes, gaps_s: npt.NDArray[np.float32]) -> Latency | None:
    """The four distributions; None when no request completed.

    TPOT and ITL are all zero when every answer had one token, because neither exists then.
    """
    if not len(times.ttft_ms):
        return None
    return Latency(
        ttft=distribution(times.ttft_ms),
        tpot=distribution(times.tpot_ms[~np.isnan(times.tpot_ms)]),
        itl=distribution(gaps_s.astype(np.float64) * 1e3),
        e2e=distribution(times.e2e_ms),
    )


def distribution(values: Floats) -> Distribution:
    """Exact percentiles (linear between two values); zeros when there are no values."""
    if not len(values):
        return Distribution(mean=0.0, p50=0.0, p90=0.0, p95=0.0, p99=0.0, max=0.0)
    p50, p90, p95, p99 = (float(p) for p in np.percentile(values, [50, 90, 95, 99]))
    mean, most = float(values.mean()), float(values.max())
    return Distribution(mean=mean, p50=p50, p90=p90, p95=p95, p99=p99, max=most)


def tokens(records: Records, chosen: Mask) -> Tokens:
    """Tokens of the chosen rows, from the servers' usage blocks."""
    rows = records.rows[chosen]
    return Tokens(
        input=int(rows["input_tokens"].sum(dtype=np.int64)),
        output=int(rows["output_tokens"].sum(dtype=np.int64)),
    )


def throughput(counted: Tokens, requests: int, duration_s: float) -> Throughput:
    """Rates over the window; zeros when it is empty."""
    span_s = duration_s if duration_s > 0 else float("inf")
    return Throughput(
        total_tok_s=(counted.input + counted.output) / span_s,
        output_tok_s=counted.output / span_s,
        request_s=requests / span_s,
    )


def goodput(
    times: RequestTimes, slo: dict[str, float], failed: int, duration_s: float
) -> Goodput | None:
    """Requests that met every goal by themselves; failed ones met none. None without goals."""
    if not slo:
        return None
    met = np.ones(len(times.ttft_ms), bool)
    for metric, limit_ms in strictest(slo).items():
        met &= ~(getattr(times, f"{metric}_ms") > limit_ms)
    asked = len(met) + failed
    return Goodput(
        request_s=float(met.sum()) / duration_s if duration_s > 0 else 0.0,
        share=float(met.sum()) / asked if asked else 0.0,
        slo=slo,
    )


def errors(records: Records, failed: Mask) -> dict[str, int]:
    """Failures by name, most frequent first."""
    rows = records.rows[failed]
    kinds = np.stack([rows["end"], rows["status"]], axis=1) if len(rows) else np.zeros((0, 2))
    found, counts = np.unique(kinds, axis=0, return_counts=True)
    named = [(end_name(int(e), int(s)), int(n)) for (e, s), n in zip(found, counts, strict=True)]
    merged: dict[str, int] = {}
    for name, count in sorted(named, key=lambda pair: -pair[1]):
        merged[name] = merged.get(name, 0) + count
    return merged


def chunks(records: Records, chosen: Mask) -> Chunks | None:
    """What came in the chunks of the chosen rows; None when there are none."""
    rows = records.rows[chosen]
    total = int(rows["chunks"].sum(dtype=np.int64))
    if not total:
        return None
    return Chunks(
        tokens_per_chunk=float(rows["output_tokens"].sum(dtype=np.int64)) / total,
        reasoning=int(rows["reasoning_chunks"].sum(dtype=np.int64)),
        tool_calls=int(rows["tool_chunks"].sum(dtype=np.int64)),
    )


def ttfc(records: Records, chosen: Mask, *, open_loop: bool) -> Distribution | None:
    """Time to the first token of text, where something else came before it in any answer."""
    rows = records.rows[chosen]
    rows = rows[~np.isnan(rows["first_content_s"])]
    if not (rows["reasoning_chunks"].any() or rows["tool_chunks"].any()):
        return None
    began_s = rows["scheduled_s"] if open_loop else rows["sent_s"]
    return distribution((rows["first_content_s"] - began_s) * 1e3)


def per_replica(records: Records, chosen: Mask) -> dict[str, int]:
    """Completed requests by the replica that the response headers name."""
    names = records.rows["replica"][chosen]
    found, counts = np.unique(names[names != b""], return_counts=True)
    named = {n.decode(errors="replace"): int(c) for n, c in zip(found, counts, strict=True)}
    return dict(sorted(named.items(), key=lambda pair: (len(pair[0]), pair[0])))


def spent(records: Records, field: str, window: Window) -> list[float]:
    """How far a worker's running total (`cpu_s`, `chunks`) rose in the window, by worker."""
    column = TICK_FIELDS.index(field)
    edges = [window.start_s, window.end_s]
    rises = []
    for ticks in records.ticks:
        before, after = np.interp(edges, ticks[:, 0], ticks[:, column]) if len(ticks) else (0, 0)
        rises.append(float(after - before))
    return rises


def lag(records: Records, window: Window) -> Lag:
    """The client's own lateness in the window, all workers together."""
    inside = [
        samples[(samples[:, 0] >= window.start_s) & (samples[:, 0] <= window.end_s), 1]
        for samples in records.lags
    ]
    late_ms = distribution(np.concatenate(inside) * 1e3)
    return Lag(p50=late_ms.p50, p99=late_ms.p99)
