"""When a process that died is started again, and when it is given up."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.node.job import RestartSpec


@dataclass
class CrashBudget:
    """Counts the crashes of one process in a row; a stable time without one starts anew."""

    spec: RestartSpec
    crashes: int = 0
    total: int = 0
    """Restarts since the beginning."""
    _ready_s: float | None = field(default=None, repr=False)

    def ready(self, now_s: float) -> None:
        """It serves."""
        if self._ready_s is None:
            self._ready_s = now_s

    def crashed(self, now_s: float) -> float | None:
        """Seconds to wait before it is started again; None when the budget is spent."""
        if self._ready_s is not None and now_s - self._ready_s >= self.spec.stable_s:
            self.crashes = 0
        self._ready_s = None
        self.crashes += 1
        if self.crashes > self.spec.crashes:
            return None
        self.total += 1
        return float(min(self.spec.backoff_most_s, self.spec.backoff_s * 2 ** (self.crashes - 1)))
