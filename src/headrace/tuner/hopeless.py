"""When a running measurement cannot win any more, so that its time is better spent on the next."""

from __future__ import annotations

import threading

from headrace.loadgen.progress import Progress
from headrace.tuner.counters import Counters, rates

BEHIND = 0.06
"""Behind the best by this share, in the steady state: more than windows of one engine differ."""
LOOK_S = 8.0
"""Seconds of the steady state that are looked at."""


class Hopeless:
    """Looks at the engines' counters after the warm-up, and sets `cut` when the best is far."""

    def __init__(self, best_tok_s: float | None) -> None:
        self.cut = threading.Event()
        self.counters: Counters | None = None
        self.rate: float | None = None
        """Total tok/s by the counters, once it was given up."""
        self._best_tok_s = best_tok_s
        self._warm_at_s: float | None = None

    @property
    def behind(self) -> float:
        """The share by which it was behind when it was given up."""
        return 1 - (self.rate or 0.0) / (self._best_tok_s or 1.0)

    def seen(self, progress: Progress) -> bool:
        """Whether to give up, asked at every sign of progress."""
        if self._best_tok_s is None or self.counters is None or progress.state != "measuring":
            return False
        if self._warm_at_s is None:
            self._warm_at_s = progress.elapsed_s
        if progress.elapsed_s - self._warm_at_s < LOOK_S + 1:
            return False
        now = rates(self.counters.readings, LOOK_S)
        if now is None or now.total_tok_s > (1 - BEHIND) * self._best_tok_s:
            return False
        self.rate = now.total_tok_s
        return True
