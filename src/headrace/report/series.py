"""From per-request arrays to the few hundred numbers that a chart needs. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHORTEST_S = 1e-6
"""A request with one token has no span; it is spread over a microsecond instead."""
BIN_WIDTHS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)


def time_edges(end_s: float, most: int = 150) -> Floats:
    """Bin edges from 0 to `end_s`, of the finest round width that gives at most `most` bins.

    The last bin ends where the run does: it is shorter than the others, or up to a half longer.
    """
    width = next((w for w in BIN_WIDTHS_S if end_s / w <= most), end_s / most)
    whole = max(1, int(end_s / width + 0.5))
    return np.append(np.arange(whole, dtype=np.float64) * width, end_s)


def spread_rate(begin_s: Floats, end_s: Floats, amount: Floats, edges: Floats) -> Floats:
    """Mean rate per bin when each row's amount flows evenly from its begin to its end.

    Exact at any bin width: the difference of the cumulative flow at the edges. Rows with a NaN
    are left out. With an amount of `end - begin` it is the number of rows in flight.
    """
    keep = np.isfinite(begin_s) & np.isfinite(end_s) & np.isfinite(amount)
    begin, amount = begin_s[keep], amount[keep]
    end = np.maximum(end_s[keep], begin + SHORTEST_S)
    rate = amount / (end - begin)
    flowed = _ramps(begin, rate, edges) - _ramps(end, rate, edges)
    return np.asarray(np.diff(flowed) / np.diff(edges))


def in_flight(sent_s: Floats, done_s: Floats, edges: Floats) -> Floats:
    """Mean requests in flight per bin."""
    return spread_rate(sent_s, done_s, np.maximum(done_s - sent_s, SHORTEST_S), edges)


def _ramps(start: Floats, slope: Floats, at: Floats) -> Floats:
    """Sum over rows of slope * max(0, at - start), at each of `at`."""
    order = np.argsort(start)
    start, slope = start[order], slope[order]
    begun = np.searchsorted(start, at, side="right")
    slopes = np.concatenate(([0.0], np.cumsum(slope)))[begun]
    offsets = np.concatenate(([0.0], np.cumsum(slope * start)))[begun]
    return np.asarray(slopes * at - offsets)


@dataclass(frozen=True)
class Histogram:
    """Shares of the values per bin (they sum to 1), by the bins' centres."""

    centres: Floats
    shares: Floats


def histogram(values: Floats, bins: int = 48) -> Histogram | None:
    """Equal bins up to the 99.9th percentile, and no further than twice the 99th.

    What lies above is counted in the last bin: without that cap one straggler squeezes all others
    into the first bin. None without values.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    p99, p999 = np.percentile(values, [99, 99.9])
    low, high = float(values.min()), float(min(p999, 2 * p99))
    if high - low < 1e-3 * max(abs(high), 1e-9):
        low, high = low * 0.95, max(high * 1.05, low + 1e-9)
    counts, edges = np.histogram(np.minimum(values, high), bins=bins, range=(low, high))
    return Histogram((edges[:-1] + edges[1:]) / 2, counts / len(values))


def shared_grid(samples: Sequence[Floats], points: int = 160) -> Floats:
    """An x axis for several samples: from the least value to the largest 99.9th percentile."""
    kept = [s[np.isfinite(s)] for s in samples]
    kept = [s for s in kept if len(s)]
    if not kept:
        return np.zeros(0)
    low = min(float(s.min()) for s in kept)
    high = max(float(np.percentile(s, 99.9)) for s in kept)
    return np.linspace(low, max(high, low + 1e-9), points)


def cdf(values: Floats, grid: Floats) -> Floats:
    """Share of the values that are <= each point of `grid`; empty values give NaN."""
    values = np.sort(values[np.isfinite(values)])
    if not len(values):
        return np.full(len(grid), np.nan)
    return np.searchsorted(values, grid, side="right") / len(values)


@dataclass(frozen=True)
class ReplicaShare:
    """What one replica did in the measured window. Means are NaN where nothing was recorded."""

    id: str
    completed: int
    output_tokens: int
    ttft_ms: float
    tpot_ms: float


def replica_shares(
    replica: NDArray[np.object_], output_tokens: Floats, ttft_ms: Floats, tpot_ms: Floats
) -> list[ReplicaShare]:
    """One row per replica named in `replica` (empty names are left out), in natural order."""
    names, index = np.unique(replica.astype(str), return_inverse=True)
    count = np.bincount(index, minlength=len(names))
    tokens = np.bincount(index, np.nan_to_num(output_tokens), minlength=len(names))
    ttft, tpot = (_group_mean(index, v, len(names)) for v in (ttft_ms, tpot_ms))
    rows = [
        ReplicaShare(str(n), int(count[i]), int(tokens[i]), float(ttft[i]), float(tpot[i]))
        for i, n in enumerate(names)
        if n
    ]
    return sorted(rows, key=lambda row: natural_key(row.id))


def natural_key(name: str) -> tuple[str, int, str]:
    """Orders r2 before r10: the text, then the number at its end."""
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    return stem, int(digits or -1), name


def _group_mean(index: NDArray[np.intp], values: Floats, groups: int) -> Floats:
    known = np.isfinite(values)
    counts = np.bincount(index[known], minlength=groups)
    sums = np.bincount(index[known], values[known], minlength=groups)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


@dataclass(frozen=True)
class Spread:
    """How evenly counts are spread: 1.0 is even."""

    least: float
    most: float
    mean: float
    deviation: float
    """Standard deviation over mean."""


def spread(counts: Sequence[float]) -> Spread | None:
    """None without counts, or when all are zero."""
    if not counts or not any(counts):
        return None
    values = np.asarray(counts, dtype=np.float64)
    mean = float(values.mean())
    return Spread(float(values.min()), float(values.max()), mean, float(values.std()) / mean)
