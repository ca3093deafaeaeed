"""When steps end: an ideal schedule that late timers do not stretch."""

from __future__ import annotations

from dataclasses import dataclass

MAX_DEBT_S = 0.25


@dataclass(slots=True)
class StepClock:
    """A replica's own time. Each step begins where the last one should have ended.

    A timer that comes late, because the machine is busy, makes the following steps end early until
    the replica has caught up: its throughput is the model's and not the timer's. What it is late
    beyond MAX_DEBT_S is given up and counted, or a long stall would end in a burst.
    """

    ideal_s: float = 0.0
    lag_sum_s: float = 0.0
    lag_max_s: float = 0.0
    given_up_s: float = 0.0
    steps: int = 0

    def start(self, now_s: float) -> None:
        """Work begins after idleness."""
        self.ideal_s = now_s

    def begin(self, step_s: float) -> float:
        """When the step that begins now should end."""
        self.ideal_s += step_s
        return self.ideal_s

    def end(self, now_s: float) -> None:
        """The step was ended, now."""
        lag_s = max(0.0, now_s - self.ideal_s)
        self.steps += 1
        self.lag_sum_s += lag_s
        self.lag_max_s = max(self.lag_max_s, lag_s)
        if lag_s > MAX_DEBT_S:
            self.given_up_s += lag_s - MAX_DEBT_S
            self.ideal_s = now_s - MAX_DEBT_S
