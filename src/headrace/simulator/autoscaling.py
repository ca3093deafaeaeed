"""How many replicas a fleet should have, from what is observed of it. Pure: the caller has a clock.

The simulator and a running fleet ask the same `Autoscaler`. It works as Kubernetes' horizontal pod
autoscaler does (a target per replica, a tolerance, stabilization windows), with one addition: a
replica takes minutes to start, so the load is extrapolated over that time before it is judged.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class ScalingPolicy:
    """What to hold. Raises ValueError when the limits contradict each other."""

    least: int
    """Replicas kept, whatever the load: with N+k spare, at least k + 1."""
    most: int
    target_in_flight: float
    """Requests in flight (running and waiting) per replica; the plan's concurrency suits."""
    tolerance: float = 0.1
    """No change while the load is this near to the target, as a share of it."""
    spare: int = 0
    """Replicas on top of what the load needs, so that as many may fail."""
    horizon_s: float = 0.0
    """How far ahead a rising load is extrapolated: the start time of a replica."""
    trend_s: float = 120.0
    """Over how long the rise is measured."""
    hold_down_s: float = 300.0
    """A fleet shrinks only to the most that was wanted in so many seconds."""
    most_added: int | None = None
    """Replicas that one decision may add; None: as many as are wanted."""

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"expected 1 <= least <= most, got {self.least} and {self.most}")
        if self.target_in_flight <= 0:
            raise ValueError(f"target_in_flight {self.target_in_flight:g}: expected above 0")


@dataclass(frozen=True)
class Observation:
    """A fleet at one moment."""

    at_s: float
    """On any clock that does not go back."""
    ready: int
    starting: int
    """Replicas on their way; they count as capacity, so that they are not ordered twice."""
    in_flight: float
    """Requests in the whole fleet, running and waiting; gateway queues included."""


@dataclass(frozen=True)
class Decision:
    """How many replicas should be ready or starting, and why."""

    replicas: int
    reason: str


SHORTEST_TREND_S = 1.0
"""Two looks closer together than this say nothing of a trend."""


class Autoscaler:
    """Remembers what it saw within its windows, nothing else. Ask it every 5 to 30 seconds."""

    def __init__(self, policy: ScalingPolicy) -> None:
        self.policy = policy
        self._seen: deque[tuple[float, float]] = deque()
        self._wanted: deque[tuple[float, int]] = deque()

    def decide(self, seen: Observation) -> Decision:
        """The number of replicas to have. Raises ValueError when the clock went back."""
        if self._seen and seen.at_s < self._seen[-1][0]:
            raise ValueError(f"time went back from {self._seen[-1][0]:g} to {seen.at_s:g} s")
        policy = self.policy
        have = seen.ready + seen.starting
        expected = self._expected(seen)
        needed = math.ceil(expected / policy.target_in_flight - 1e-9) + policy.spare
        wanted = min(policy.most, max(policy.least, needed))
        self._wanted.append((seen.at_s, wanted))
        while self._wanted[0][0] < seen.at_s - policy.hold_down_s:
            self._wanted.popleft()
        return self._judged(have, wanted, expected)

    def _judged(self, have: int, wanted: int, expected: float) -> Decision:
        policy = self.policy
        load = f"{expected:.0f} requests expected in flight"
        if policy.least <= have <= policy.most and self._is_near(have, expected):
            return Decision(have, f"{load}: within {policy.tolerance:.0%} of the target")
        if wanted >= have:
            most = have + (policy.most_added or wanted)
            return Decision(min(wanted, most), f"{load} need {wanted} replicas")
        held = min(have, max(count for _, count in self._wanted))
        held = max(policy.least, min(policy.most, held))
        if held > wanted:
            return Decision(held, f"{load} need {wanted}; {held} were needed recently")
        return Decision(held, f"{load} need {wanted} replicas")

    def _is_near(self, have: int, expected: float) -> bool:
        serving = have - self.policy.spare
        if serving < 1:
            return False
        ratio = expected / (serving * self.policy.target_in_flight)
        return abs(ratio - 1.0) <= self.policy.tolerance

    def _expected(self, seen: Observation) -> float:
        """The load at the horizon, if it goes on rising as it did; a falling one is as it is."""
        self._seen.append((seen.at_s, seen.in_flight))
        while self._seen[0][0] < seen.at_s - self.policy.trend_s:
            self._seen.popleft()
        first_s, first = self._seen[0]
        if seen.at_s - first_s < SHORTEST_TREND_S:
            return seen.in_flight
        rise = max(0.0, (seen.in_flight - first) / (seen.at_s - first_s))
        return seen.in_flight + rise * self.policy.horizon_s
