"""Two measurements against each other: is the difference more than chance?

Latencies: requests are drawn with replacement from each run, and the difference of the statistic is
taken, over and over; the interval holds 95 % of what comes out. Requests that run together are not
independent, so whole stretches of time are drawn instead of single requests (a block bootstrap).
Throughput: the same stretches, each with the tokens of the requests that ended in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from headrace.errors import InputError
from headrace.loadgen.past import Past
from headrace.loadgen.records import Floats

BLOCKS = 40
"""Stretches of time that each run is cut into."""
RESAMPLES = 2000
WORK = 100_000_000
"""Requests looked at over all resamples; very long runs get fewer resamples, 200 at least."""
FEWEST = 20
"""Completed requests that a comparison needs of each run."""
Statistic = Callable[[Floats], float]


class Difference(BaseModel):
    """One figure of both runs; `low` and `high` bound B - A with 95 % confidence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    a: float
    b: float
    difference: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Zero is outside the interval."""
        return self.low > 0 or self.high < 0


class Comparison(BaseModel):
    """Differences by figure, and what speaks against comparing these runs at all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    a: str
    b: str
    figures: dict[str, Difference]
    warnings: list[str]


@dataclass(frozen=True)
class _Blocks:
    """A run cut into stretches: which requests ended in each, and how long each is."""

    places: list[np.ndarray]
    length_s: float


def compare_runs(a: Past, b: Past, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """Compare B with A. Raises InputError when one has too few completed requests."""
    for past in (a, b):
        if len(past.done_s) < FEWEST:
            raise InputError(
                f"{past.folder}: {len(past.done_s)} completed requests, {FEWEST} are needed"
            )
    source = np.random.default_rng(seed)
    count = int(min(resamples, max(200, WORK / (len(a.done_s) + len(b.done_s)))))
    draws = [(_draws(past, source, count), past) for past in (a, b)]
    figures = {
        name: _difference(name, draws, values, statistic) for name, values, statistic in _figures()
    }
    return Comparison(a=str(a.folder), b=str(b.folder), figures=figures, warnings=_warnings(a, b))


def _figures() -> list[tuple[str, Callable[[Past], Floats], Statistic | None]]:
    """Name, values by request, statistic over them; None: a rate over the window."""

    def share(part: float) -> Statistic:
        return lambda values: float(np.percentile(values, part)) if len(values) else np.nan

    latencies: list[tuple[str, Callable[[Past], Floats]]] = [
        ("ttft", lambda past: past.ttft_ms),
        ("tpot", _tpot_by_request),
        ("e2e", lambda past: past.e2e_ms),
    ]
    found: list[tuple[str, Callable[[Past], Floats], Statistic | None]] = [
        ("total_tok_s", lambda past: past.input_tokens + past.output_tokens, None),
        ("output_tok_s", lambda past: past.output_tokens, None),
    ]
    for name, values in latencies:
        found += [
            (f"{name}_mean_ms", values, lambda v: float(v.mean()) if len(v) else np.nan),
            (f"{name}_p50_ms", values, share(50)),
            (f"{name}_p99_ms", values, share(99)),
        ]
    return found


def _tpot_by_request(past: Past) -> Floats:
    """As `Past.tpot_ms`, but NaN for answers of one token, so that places match."""
    values = np.full(len(past.done_s), np.nan)
    values[past.output_tokens > 1] = past.tpot_ms
    return values


def _blocks(past: Past) -> _Blocks:
    start_s, end_s = past.window_s
    edges = np.linspace(start_s, end_s, BLOCKS + 1)
    which = np.clip(np.searchsorted(edges, past.done_s, side="left") - 1, 0, BLOCKS - 1)
    return _Blocks([np.flatnonzero(which == b) for b in range(BLOCKS)], (end_s - start_s) / BLOCKS)


def _draws(past: Past, source: np.random.Generator, resamples: int) -> list[np.ndarray]:
    """The requests of each resample, by their places."""
    blocks = _blocks(past).places
    return [
        np.concatenate([blocks[b] for b in source.integers(0, BLOCKS, BLOCKS)])
        for _ in range(resamples)
    ]


def _difference(
    name: str,
    draws: list[tuple[list[np.ndarray], Past]],
    values: Callable[[Past], Floats],
    statistic: Statistic | None,
) -> Difference:
    measured, resampled = [], []
    for places, past in draws:
        column = values(past)
        known = ~np.isnan(column)
        found = statistic or _rate(past.summary.duration_s)
        measured.append(found(column[known]))
        resampled.append(np.array([found(column[p][known[p]]) for p in places]))
    steps = resampled[1] - resampled[0]
    steps = steps[~np.isnan(steps)]
    low, high = np.percentile(steps, [2.5, 97.5]) if len(steps) else (np.nan, np.nan)
    a, b = (0.0 if np.isnan(value) else value for value in measured)
    if name.startswith("tpot") and not len(steps):
        low = high = 0.0
    return Difference(a=a, b=b, difference=b - a, low=float(low), high=float(high))


def _rate(duration_s: float) -> Statistic:
    return lambda tokens: float(tokens.sum()) / duration_s if duration_s > 0 else 0.0


def _warnings(a: Past, b: Past) -> list[str]:
    warnings = [
        f"{past.folder} is not valid: {'; '.join(past.summary.invalid_reasons)}"
        for past in (a, b)
        if not past.summary.valid
    ]
    pairs = (
        ("engine", a.summary.engine, b.summary.engine),
        ("model", a.summary.model, b.summary.model),
        ("concurrency", a.summary.concurrency.asked, b.summary.concurrency.asked),
        *(
            (name, _asked(a, name), _asked(b, name))
            for name in ("input_tokens", "output_tokens", "request_rate", "prefix_hit_rate")
        ),
    )
    return warnings + [
        f"{name}: {one} against {other}" for name, one, other in pairs if one != other
    ]


def _asked(past: Past, name: str) -> object:
    return past.summary.environment.get("load", {}).get(name)
