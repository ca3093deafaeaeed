"""What a simulation answers, as data: `simulation.json`. Simulated, never measured."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from headrace.loadgen.summary import Distribution
from headrace.simulator.requests import DONE, FAILED, PENDING, Requests
from headrace.simulator.simulation import Outcome
from headrace.spec.slo import Metric


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SimulatedLatency(_Part):
    """In milliseconds, at the client."""

    ttft: Distribution
    tpot: Distribution
    e2e: Distribution

    def at(self, metric: Metric, percentile: int) -> float:
        """One latency at the 50th, 90th, 95th or 99th percentile."""
        figure: float = getattr(getattr(self, metric), f"p{percentile}")
        return figure


class Figures(_Part):
    """One simulated fleet under one load."""

    total_tok_s: float
    output_tok_s: float
    request_s: float
    latency_ms: SimulatedLatency | None
    """None when nothing completed."""
    completed: int
    failed: int
    preemptions: int
    usd_per_million_tokens: float | None
    prefix_hit_rate: float | None = None
    """Share of prompt tokens found in a replica's prefix cache; None where none can be shared."""


class ScalingRow(_Part):
    """A number of nodes. Efficiency is against the first row's throughput per node."""

    nodes: int
    gpus: int
    in_flight_per_replica: float
    total_tok_s: float
    efficiency: float
    tpot_p50_ms: float
    ttft_p50_ms: float
    published_total_tok_s: float | None = None
    usd_per_million_tokens: float | None = None


class PolicyRow(_Part):
    """A way to choose replicas. `share` is of the best row's throughput."""

    policy: str
    settings: str
    figures: Figures
    share: float
    imbalance: float
    """Standard deviation over mean of what the replicas completed."""


class RateRow(_Part):
    """An arrival rate: the knee of the latency curve is where it no longer keeps up."""

    asked_request_s: float
    figures: Figures
    keeps_slo: bool


class SizeTry(_Part):
    """A number of nodes that was simulated on the way to the fewest, without the spare ones."""

    nodes: int
    gpus: int
    carries: bool
    """It keeps up with the load, and keeps the goals."""
    tpot_p99_ms: float | None
    ttft_p99_ms: float | None


class SizeRow(_Part):
    """The fewest machines of one GPU type for a load."""

    gpu: str
    feasible: bool
    reason: str | None = None
    gpus: int | None = None
    nodes: int | None = None
    spare_nodes: int | None = None
    """Of them, how many may fail with the goals kept."""
    gpus_per_replica: int | None = None
    asked_tok_s: float | None = None
    after_loss: Figures | None = None
    """With the spare nodes lost."""
    usd_per_hour: float | None = None
    usd_per_million_tokens: float | None = None
    tries: list[SizeTry] = []


class HourRow(_Part):
    """An hour of a day."""

    hour: int
    asked_request_s: float
    replicas_mean: float
    completed: int
    failed: int
    tpot_p99_ms: float | None
    ttft_p99_ms: float | None
    usd: float | None
    usd_per_million_tokens: float | None


class EventRow(_Part):
    """Something that happened to the fleet."""

    at_s: float
    what: str
    ready: int


class PartRow(_Part):
    """One cause of a loss, from a simulation with and one without it."""

    cause: str
    total_tok_s: float
    points: float
    """Of the efficiency, in percentage points; negative is lost."""


class Timeline(_Part):
    """What happened over time, in equal bins; `at_s` are their ends since the window's start."""

    at_s: list[float]
    total_tok_s: list[float]
    """Prompts at their first token, answers evenly from first to last."""
    in_flight: list[float]
    failed_s: list[float]
    """Failed requests per second."""
    ttft_p99_ms: list[float | None]
    ready: list[int]


class Simulation(_Part):
    """`simulate --json`. Which of the lists are filled depends on the question."""

    kind: Literal["simulated"] = "simulated"
    name: str
    model: str
    gpu: str
    gpus: int
    question: str
    total_tok_s: float | None = None
    output_tok_s: float | None = None
    latency_ms: SimulatedLatency | None = None
    usd_per_million_tokens: float | None = None
    requests: dict[str, int] = {}
    scaling: list[ScalingRow] = []
    causes: list[PartRow] = []
    policies: list[PolicyRow] = []
    rates: list[RateRow] = []
    sizes: list[SizeRow] = []
    goals_p99_ms: dict[Metric, float] = {}
    """What `sizes` had to keep at p99."""
    hours: list[HourRow] = []
    events: list[EventRow] = []
    timeline: Timeline | None = None
    assumptions: list[str] = []
    simulated_s: float
    elapsed_s: float
    quick: bool
    """Whether the compiled core ran."""
    command: str = ""


def distribution(seconds: NDArray[np.float64]) -> Distribution:
    """Percentiles in milliseconds."""
    p50, p90, p95, p99 = np.percentile(seconds, [50, 90, 95, 99]) * 1e3
    return Distribution(
        mean=float(seconds.mean() * 1e3),
        p50=float(p50),
        p90=float(p90),
        p95=float(p95),
        p99=float(p99),
        max=float(seconds.max() * 1e3),
    )


def figures(outcome: Outcome, usd_per_hour: float | None = None) -> Figures:
    """The figures of a window. `usd_per_hour` is the whole fleet's."""
    prompts, answers = outcome.tokens()
    span_s = outcome.duration_s
    completed = int(outcome.completed.sum())
    tpot_s = outcome.tpot_s()
    latency = None
    if completed:
        latency = SimulatedLatency(
            ttft=distribution(outcome.ttft_s()),
            tpot=distribution(tpot_s if len(tpot_s) else np.zeros(1)),
            e2e=distribution(outcome.e2e_s()),
        )
    total = (prompts + answers) / span_s
    usd = usd_per_hour / (total * 3600) * 1e6 if usd_per_hour and total else None
    return Figures(
        total_tok_s=total,
        output_tok_s=answers / span_s,
        request_s=completed / span_s,
        latency_ms=latency,
        completed=completed,
        failed=int(outcome.failed.sum()),
        preemptions=int(outcome.tally.preemptions.sum()),
        usd_per_million_tokens=usd,
        prefix_hit_rate=_hit_rate(outcome),
    )


def _hit_rate(outcome: Outcome) -> float | None:
    r, done = outcome.requests, outcome.completed
    if len(r.hit_tokens) == 0 or not done.any():
        return None
    prompts = r.input_tokens[done].sum(dtype=np.int64)
    return float(r.hit_tokens[done].sum(dtype=np.int64) / prompts)


def timeline(outcome: Outcome, replicas_ready: int, bins: int = 120) -> Timeline:
    """The measured window in bins. `replicas_ready` is the number at its start."""
    r, begin_s = outcome.requests, outcome.begin_s
    edges = np.linspace(begin_s, outcome.end_s, bins + 1)
    width_s = float(edges[1] - edges[0])
    ended = r.done_s[r.status != PENDING]
    started = np.searchsorted(np.sort(r.sent_s), edges[1:], "right")
    over = np.searchsorted(np.sort(ended), edges[1:], "right")
    failed, _ = np.histogram(r.done_s[r.status == FAILED], edges)
    return Timeline(
        at_s=(edges[1:] - begin_s).tolist(),
        total_tok_s=(_streamed(r, edges) / width_s).tolist(),
        in_flight=(started - over).astype(float).tolist(),
        failed_s=(failed / width_s).tolist(),
        ttft_p99_ms=_ttft_p99(r, edges),
        ready=_ready(outcome, replicas_ready, edges[1:] - begin_s),
    )


def _streamed(r: Requests, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tokens in each bin, of requests that were broken or still run as well."""
    first_s = r.first_s
    done_s = np.where(r.status == PENDING, np.inf, r.done_s)
    known = ~np.isnan(first_s)
    pace = _mean_pace(r)
    first_s, done_s = first_s[known], done_s[known]
    amount = np.histogram(first_s, edges, weights=r.input_tokens[known])[0].astype(float)
    whole = r.status[known] == DONE
    span_s = np.maximum(done_s - first_s, 1e-9)
    rate = np.where(whole, r.output_tokens[known] / span_s, pace)
    stop_s = np.where(np.isinf(done_s), edges[-1] + 1.0, done_s)
    return amount + np.diff(_ramped(first_s, rate, edges) - _ramped(stop_s, rate, edges))


def _mean_pace(r: Requests) -> float:
    """Output tokens per second of a completed request: what the others are taken to run at."""
    ok = r.status == DONE
    span_s = (r.done_s[ok] - r.first_s[ok]).sum()
    return float(r.output_tokens[ok].sum(dtype=np.int64) / span_s) if span_s > 0 else 0.0


def _ramped(
    start: NDArray[np.float64], slope: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The sum of slope x (t - start) over all starts before t."""
    order = np.argsort(start)
    slopes = np.concatenate([[0.0], np.cumsum(slope[order])])
    offsets = np.concatenate([[0.0], np.cumsum((slope * start)[order])])
    index = np.searchsorted(start[order], at)
    ramps: NDArray[np.float64] = slopes[index] * at - offsets[index]
    return ramps


def _ttft_p99(r: Requests, edges: NDArray[np.float64]) -> list[float | None]:
    known = ~np.isnan(r.first_s)
    first_s, waited_s = r.first_s[known], (r.first_s - r.sent_s)[known]
    order = np.argsort(first_s)
    cuts = np.searchsorted(first_s[order], edges)
    parts = np.split(waited_s[order], cuts)[1:-1]
    return [float(np.percentile(p, 99) * 1e3) if len(p) else None for p in parts]


def _ready(outcome: Outcome, first: int, at_s: NDArray[np.float64]) -> list[int]:
    times = [event.at_s for event in outcome.history]
    counts = [first, *(event.ready for event in outcome.history)]
    return [counts[i] for i in np.searchsorted(times, at_s, "right")]


def imbalance(outcome: Outcome, replicas: int) -> float:
    """How unevenly the replicas worked: deviation over mean of completed requests."""
    done = outcome.requests.replica[outcome.completed]
    counts = np.bincount(done, minlength=replicas)
    return float(counts.std() / counts.mean()) if counts.any() else 0.0
