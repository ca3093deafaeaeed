"""How many replicas a fleet should have, from what is observed of it. Pure: the caller has a clock.

The simulator and a running fleet ask the same `Autoscaler`. It works as Kubernetes' horizontal pod
autoscaler does (a target per replica, a tolerance, stabilization windows), with one addition: a
replica takes minutes to start, so the load is extrapolated over that time before it is judged.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import linear_regression


@dataclass(frozen=True)
class ScalingPolicy:
    """What to hold. Raises ValueError when the limits contradict each other."""

    least: int
    """Replicas kept, whatever the load: with N+k spare, at least k + 1."""
    most: int
    target_in_flight: float
    """Requests in flight (running and waiting) per replica; the plan's concurrency suits."""
    tolerance: float = 0.1
    """No change while the load is this near to the target, as a share of it. Nor does a fleet
    shrink by less than this share of itself, or it would follow a falling load one by one."""
    spare: int = 0
    """Replicas on top of what the load needs, so that as many may fail."""
    horizon_s: float = 0.0
    """How far ahead a rising load is extrapolated: the start time of a replica."""
    trend_s: float = 300.0
    """Over how long the rise is measured. It is measured anew when the number of replicas has
    changed: fewer of them answer more slowly, so that more requests are in flight at the same load,
    and a fleet that took this for a rise would grow again."""
    hold_down_s: float = 300.0
    """A fleet shrinks only to the most that was wanted in so many seconds."""
    hold_up_s: float = 0.0
    """A fleet grows only to the least that was wanted in so many seconds, so that a peak of chance
    starts nothing; 0: at once."""
    cooldown_s: float = 0.0
    """After a change it shrinks by nothing for so long; growth does not wait."""
    slows: float = 1.0
    """How much longer an answer takes on a fuller replica, as a power of its load: 0 not at all, 1
    in proportion. A fleet shrinks to what will then be in flight, not to what is now, or it would
    grow again at once. (The published case, near its target, simulated: 1.3 to 1.7.)"""
    most_added: int | None = None
    """Replicas that one decision may add; None: as many as are wanted."""

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"expected 1 <= least <= most, got {self.least} and {self.most}")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance {self.tolerance:g}: expected 0 to 1")
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


FULL_TREND = 0.9
"""A trend counts when looks go back over this share of its time."""


class Autoscaler:
    """Remembers what it saw within its windows, nothing else. Ask it every 5 to 30 seconds."""

    def __init__(self, policy: ScalingPolicy) -> None:
        self.policy = policy
        self._seen: deque[tuple[float, float]] = deque()
        self._ready = -1
        self._loads: deque[tuple[float, float]] = deque()
        self._changed_s = -math.inf

    def decide(self, seen: Observation) -> Decision:
        """The number of replicas to have. Raises ValueError when the clock went back."""
        if self._loads and seen.at_s < self._loads[-1][0]:
            raise ValueError(f"time went back from {self._loads[-1][0]:g} to {seen.at_s:g} s")
        have = seen.ready + seen.starting
        expected = self._expected(seen)
        self._loads.append((seen.at_s, expected))
        longest_s = max(self.policy.hold_down_s, self.policy.hold_up_s)
        while self._loads[0][0] < seen.at_s - longest_s:
            self._loads.popleft()
        decision = self._judged(have, expected)
        if decision.replicas != have:
            self._changed_s = seen.at_s
        return decision

    def _judged(self, have: int, expected: float) -> Decision:
        policy = self.policy
        load = f"{expected:.0f} requests expected in flight"
        if policy.least <= have <= policy.most and self._is_near(have, expected):
            return Decision(have, f"{load}: within {policy.tolerance:.0%} of the target")
        wanted = self._for(expected / policy.target_in_flight)
        if wanted >= have:
            return self._grown(have, wanted, load)
        return self._shrunk(have, wanted, load)

    def _for(self, needed: float) -> int:
        """Whole replicas within the limits, spare ones included."""
        policy = self.policy
        return min(policy.most, max(policy.least, math.ceil(needed - 1e-9) + policy.spare))

    def _within(self, seconds: float) -> list[float]:
        """Replicas' worth of load that was expected in the last so many seconds."""
        now_s, target = self._loads[-1][0], self.policy.target_in_flight
        return [load / target for at_s, load in self._loads if at_s >= now_s - seconds]

    def _grown(self, have: int, wanted: int, load: str) -> Decision:
        most = have + (self.policy.most_added or wanted)
        lasting = max(have, self._for(min(self._within(self.policy.hold_up_s))))
        return Decision(min(lasting, most), f"{load} need {wanted} replicas")

    def _shrunk(self, have: int, wanted: int, load: str) -> Decision:
        policy = self.policy
        recent = self._for(self._when_fewer(have, max(self._within(policy.hold_down_s))))
        held = min(have, policy.most, recent)
        if have <= policy.most and self._keeps(have, held):
            return Decision(have, f"{load} need {wanted}; {have} stay for now")
        return Decision(held, f"{load} need {wanted}; with what was needed recently, {held}")

    def _when_fewer(self, have: int, needed: float) -> float:
        """Replicas that hold the target when answers have become slower on them.

        `n` replicas instead of `s` have (s / n) ** slows times as much in flight as `s` have.
        """
        slows, serving = self.policy.slows, max(1, have - self.policy.spare)
        return float((needed * serving**slows) ** (1 / (1 + slows)))

    def _keeps(self, have: int, held: int) -> bool:
        """Whether fewer would be too small a step, or too soon after the last one."""
        small = held >= have * (1 - self.policy.tolerance)
        return small or self._loads[-1][0] - self._changed_s < self.policy.cooldown_s

    def _is_near(self, have: int, expected: float) -> bool:
        serving = have - self.policy.spare
        if serving < 1:
            return False
        ratio = expected / (serving * self.policy.target_in_flight)
        return abs(ratio - 1.0) <= self.policy.tolerance

    def _expected(self, seen: Observation) -> float:
        """The load at the horizon, if it goes on rising as it did; a falling one is as it is."""
        if seen.ready != self._ready:
            self._seen.clear()
        self._ready = seen.ready
        self._seen.append((seen.at_s, seen.in_flight))
        while self._seen[0][0] < seen.at_s - self.policy.trend_s:
            self._seen.popleft()
        if self._seen[-1][0] - self._seen[0][0] < max(1e-9, self.policy.trend_s * FULL_TREND):
            return seen.in_flight
        times_s, loads = zip(*self._seen, strict=True)
        rise = max(0.0, linear_regression(times_s, loads).slope)
        return seen.in_flight + rise * self.policy.horizon_s
