"""What happens to a fleet over time: failures, drains, updates, scaling, reclaimed machines.

It acts on a simulated fleet between two stretches of virtual time, as a control plane does: late.
A gateway goes on sending to a dead replica until health checks have noticed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np

from headrace.simulator.autoscaling import Autoscaler, Observation, ScalingPolicy
from headrace.simulator.fleet import SimulatedFleet
from headrace.simulator.scenario import Scenario

State = Literal["off", "starting", "ready", "draining", "dead"]
OFF: State = "off"
READY: State = "ready"


@dataclass(frozen=True)
class Timing:
    """How long things take."""

    start_s: float = 240.0
    """From the order of a replica to its first request: image, weights, compilation, warm-up."""
    detect_s: float = 2.0
    """From a death until gateways leave the replica out: two health checks a second apart."""
    drain_s: float = 120.0
    """What a drained replica gets to finish; then its requests break."""
    poll_s: float = 1.0
    """How often a drain is looked at."""


@dataclass(frozen=True)
class Failure:
    """Replicas that die together."""

    at_s: float
    replicas: tuple[int, ...]
    restart: bool = True


@dataclass(frozen=True)
class RollingUpdate:
    """Every replica is drained and started again, so many at a time."""

    at_s: float
    at_once: int


@dataclass(frozen=True)
class Scaling:
    """The autoscaler's policy, and how often it is asked."""

    policy: ScalingPolicy
    every_s: float = 15.0


@dataclass(frozen=True)
class Spot:
    """Machines that the provider takes back: so often an hour each, with notice."""

    reclaims_per_hour: float
    notice_s: float = 30.0
    replace_s: float = 120.0
    """Until another machine is had; the replica's start time comes on top."""


@dataclass(frozen=True)
class Course:
    """All that will happen. `initial` replicas are ready at first; None: all of them."""

    timing: Timing = field(default_factory=Timing)
    failures: tuple[Failure, ...] = ()
    updates: tuple[RollingUpdate, ...] = ()
    scaling: Scaling | None = None
    spot: Spot | None = None
    initial: int | None = None
    replicas_per_machine: int = 1
    """What a reclaimed machine takes with it."""


@dataclass(frozen=True)
class Happening:
    """One line of the fleet's history."""

    at_s: float
    what: str
    ready: int
    """Replicas that take requests after it."""


class ControlPlane:
    """Plays a course on a fleet. `next_s` says when it wants to act; then call `act`."""

    def __init__(self, course: Course, scenario: Scenario, fleet: SimulatedFleet) -> None:
        self.course, self.scenario, self.fleet = course, scenario, fleet
        self.history: list[Happening] = []
        self.paid_s = 0.0
        """Replica-seconds of machines that were held."""
        self._paid_until_s = 0.0
        count = scenario.replicas
        initial = count if course.initial is None else course.initial
        self.states: list[State] = [READY if r < initial else OFF for r in range(count)]
        for replica in range(initial, count):
            fleet.fail(replica)
        self._known = {r for r in range(count) if self.states[r] == "ready"}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._planned = 0
        self._updating: list[int] = []
        self._scaler = Autoscaler(course.scaling.policy) if course.scaling else None
        self._tell_gateways()

    def begin(self) -> None:
        """The course begins now: its times count from here, and so does what is paid."""
        self.paid_s, self._paid_until_s = 0.0, self.fleet.now_s
        course = self.course
        for failure in course.failures:
            self._after(failure.at_s, partial(self._fail, failure))
        for update in course.updates:
            self._after(update.at_s, partial(self._update, update))
        if course.scaling is not None:
            self._after(course.scaling.every_s, self._scale)
        if course.spot is not None:
            self._schedule_spot(course.spot)

    @property
    def next_s(self) -> float:
        """When it acts next; infinity when it is done."""
        return self._heap[0][0] if self._heap else float("inf")

    @property
    def ready(self) -> int:
        """Replicas that take requests."""
        return self.states.count("ready")

    def act(self) -> None:
        """Do what is due; the fleet has been advanced to that time."""
        self._pay()
        while self._heap and self._heap[0][0] <= self.fleet.now_s:
            heapq.heappop(self._heap)[2]()

    def _pay(self) -> None:
        held = sum(state != "off" for state in self.states)
        self.paid_s += held * (self.fleet.now_s - self._paid_until_s)
        self._paid_until_s = self.fleet.now_s

    def _after(self, pause_s: float, act: Callable[[], None]) -> None:
        self._planned += 1
        heapq.heappush(self._heap, (self.fleet.now_s + pause_s, self._planned, act))

    def _note(self, what: str) -> None:
        self.history.append(Happening(self.fleet.now_s, what, self.ready))

    def _tell_gateways(self) -> None:
        """Each gateway knows the ready replicas nearest to it; farther ones only without those."""
        ready = np.array(sorted(self._known), np.int64)
        roles = self.scenario.role_of[ready] if len(ready) else ready
        for role in range(2 if self.scenario.transfer is not None else 1):
            of_role = ready[roles == role]
            for gateway in range(self.scenario.gateways.count):
                delay_s = self.scenario.delay_s[gateway, of_role]
                near = of_role[delay_s == delay_s.min()] if len(of_role) else of_role
                self.fleet.set_backends(gateway, role, near)

    def _leave(self, replicas: list[int]) -> None:
        self._known.difference_update(replicas)
        self._tell_gateways()

    # Death and birth

    def _fail(self, failure: Failure) -> None:
        dying = [r for r in failure.replicas if self.states[r] in ("ready", "draining")]
        for replica in dying:
            self.fleet.fail(replica)
            self.states[replica] = "dead"
        self._note(f"{_replicas(len(dying))} failed")
        self._after(self.course.timing.detect_s, lambda: self._noticed(dying))
        if failure.restart:
            for replica in dying:
                self._begin_start(replica)

    def _noticed(self, dead: list[int]) -> None:
        self._leave([r for r in dead if self.states[r] != "ready"])
        self._note("gateways have noticed")

    def _begin_start(self, replica: int) -> None:
        self.states[replica] = "starting"
        self._after(self.course.timing.start_s, lambda: self._started(replica))

    def _started(self, replica: int) -> None:
        if self.states[replica] != "starting":
            return
        self.fleet.start(replica)
        self.states[replica] = "ready"
        self._known.add(replica)
        self._tell_gateways()
        self._note_ready()

    def _note_ready(self) -> None:
        """One line for all that become ready at one moment."""
        at_s, together = self.fleet.now_s, 1
        if self.history and self.history[-1].at_s == at_s:
            words = self.history[-1].what.split()
            if words[-1] == "ready":
                together = int(words[0]) + 1
                self.history.pop()
        self._note(f"{_replicas(together)} ready")

    def _drain(self, replica: int, limit_s: float, then: Callable[[int], None]) -> None:
        """No new requests; what runs may finish, up to a limit. Then it is off."""
        self.states[replica] = "draining"
        self._leave([replica])
        self._after(0.0, lambda: self._drained(replica, self.fleet.now_s + limit_s, then))

    def _drained(self, replica: int, limit_s: float, then: Callable[[int], None]) -> None:
        if self.states[replica] != "draining":
            return
        left = int(self.fleet.in_flight()[replica])
        if left and self.fleet.now_s < limit_s:
            poll_s = min(self.course.timing.poll_s, limit_s - self.fleet.now_s)
            self._after(max(poll_s, 1e-3), lambda: self._drained(replica, limit_s, then))
            return
        self.fleet.fail(replica)
        self.states[replica] = "off"
        if left:
            self._note(f"a drain ran out of time: {left} requests broken")
        then(replica)

    # Rolling updates

    def _update(self, update: RollingUpdate) -> None:
        self._updating = [r for r, state in enumerate(self.states) if state == "ready"]
        self._note(f"rolling update of {_replicas(len(self._updating))} began")
        for _ in range(min(update.at_once, len(self._updating))):
            self._update_next()

    def _update_next(self) -> None:
        while self._updating:
            replica = self._updating.pop(0)
            if self.states[replica] == "ready":
                self._drain(replica, self.course.timing.drain_s, self._start_updated)
                return
        self._note("rolling update: the last drains have begun")

    def _start_updated(self, replica: int) -> None:
        self._begin_start(replica)
        if self._updating:
            self._after(self.course.timing.start_s, self._update_next)

    # Scaling

    def _scale(self) -> None:
        assert self._scaler is not None
        assert self.course.scaling is not None
        starting = self.states.count("starting")
        in_flight = int(self.fleet.in_flight().sum()) + self.fleet.held()
        seen = Observation(self.fleet.now_s, self.ready, starting, in_flight)
        decision = self._scaler.decide(seen)
        have = self.ready + starting
        if decision.replicas > have:
            free = [r for r, state in enumerate(self.states) if state == "off"]
            for replica in free[: decision.replicas - have]:
                self._begin_start(replica)
            self._note(f"scale up to {decision.replicas}: {decision.reason}")
        elif decision.replicas < have:
            self._shrink(have - decision.replicas)
            self._note(f"scale down to {decision.replicas}: {decision.reason}")
        self._after(self.course.scaling.every_s, self._scale)

    def _shrink(self, count: int) -> None:
        """Those that are still starting go first, then the newest."""
        order = [r for r, state in enumerate(self.states) if state == "starting"][::-1]
        order += [r for r, state in enumerate(self.states) if state == "ready"][::-1]
        for replica in order[:count]:
            if self.states[replica] == "starting":
                self.states[replica] = "off"
            else:
                self._drain(replica, self.course.timing.drain_s, lambda _: None)

    # Reclaimed machines

    def _schedule_spot(self, spot: Spot) -> None:
        random = np.random.default_rng([self.scenario.seed, 23])
        each = self.course.replicas_per_machine
        for first in range(0, self.scenario.replicas, each):
            replicas = list(range(first, min(first + each, self.scenario.replicas)))
            self._schedule_reclaim(replicas, spot, random)

    def _schedule_reclaim(
        self, replicas: list[int], spot: Spot, random: np.random.Generator
    ) -> None:
        pause_s = float(random.exponential(3600 / spot.reclaims_per_hour))
        self._after(pause_s, lambda: self._reclaim(replicas, spot, random))

    def _reclaim(self, replicas: list[int], spot: Spot, random: np.random.Generator) -> None:
        for replica in replicas:
            if self.states[replica] == "ready":
                self._drain(replica, spot.notice_s, lambda r: self._replace(r, spot))
            elif self.states[replica] == "starting":
                self.states[replica] = "off"
                self._replace(replica, spot)
        self._note(f"a machine of {_replicas(len(replicas))} is reclaimed")
        self._schedule_reclaim(replicas, spot, random)

    def _replace(self, replica: int, spot: Spot) -> None:
        self._after(spot.replace_s, lambda: self._replaced(replica))

    def _replaced(self, replica: int) -> None:
        if self.states[replica] == "off":
            self._begin_start(replica)


def _replicas(count: int) -> str:
    return f"{count} replica" + ("s" if count != 1 else "")
