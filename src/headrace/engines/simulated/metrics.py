"""What one replica counts, cheap enough for every step."""

from __future__ import annotations

from bisect import bisect_left

FIRST_TOKEN_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
BETWEEN_TOKENS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
REQUEST_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
STEP_TOKENS = tuple(float(n) for n in (1, *(2**i for i in range(3, 15))))


def token_buckets(largest: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, 50, ... up to the longest request."""
    steps = (float(m * 10**e) for e in range(9) for m in (1, 2, 5))
    return tuple(bound for bound in steps if bound <= largest)


class Histogram:
    """Counts per bucket; the last one is above all bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, `times` over."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus has them."""
        rows, below = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            below += count
            rows.append((bound, float(below)))
        return rows


REASONS = ("stop", "length", "abort", "error")


class ReplicaMetrics:
    """A replica's histograms and the counts that its scheduler does not keep."""

    def __init__(self, max_model_len: int) -> None:
        self.prompt_lengths = Histogram(token_buckets(max_model_len))
        self.output_lengths = Histogram(token_buckets(max_model_len))
        self.first_token = Histogram(FIRST_TOKEN_S)
        self.between_tokens = Histogram(BETWEEN_TOKENS_S)
        self.per_output_token = Histogram(BETWEEN_TOKENS_S)
        self.end_to_end = Histogram(REQUEST_S)
        self.queue = Histogram(REQUEST_S)
        self.prefill = Histogram(REQUEST_S)
        self.decode = Histogram(REQUEST_S)
        self.inference = Histogram(REQUEST_S)
        self.step_tokens = Histogram(STEP_TOKENS)
        self.finished = dict.fromkeys(REASONS, 0)
