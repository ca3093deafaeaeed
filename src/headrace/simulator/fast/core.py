"""The quick core behind the interface of a simulated fleet."""

from __future__ import annotations

import math

import numpy as np

from headrace.simulator.fast import columns as c
from headrace.simulator.fast.heap import LOOK, SEND, plan
from headrace.simulator.fast.loop import HEAP_FULL, REACHED, advance, end, leave_gateway
from headrace.simulator.fast.state import (
    MOST_DRAFTED,
    State,
    most_running,
    new_state,
    with_requests,
)
from headrace.simulator.fleet import Tally, check_groups, ring
from headrace.simulator.requests import FAILED, Requests
from headrace.simulator.scenario import EJECTED, Ints, Scenario
from headrace.simulator.workload import Closed


class FastFleet:
    """See `SimulatedFleet`. Equal to `ReferenceFleet` for the same seed."""

    def __init__(
        self,
        scenario: Scenario,
        requests: Requests,
        closed: Closed | None = None,
        warm_lengths: np.ndarray | None = None,
    ) -> None:
        most = max(model.scheduler.mtp_depth for model in scenario.models)
        if most > MOST_DRAFTED:
            raise ValueError(f"MTP depth {most}: the quick core knows up to {MOST_DRAFTED}")
        if max(most_running(model) for model in scenario.models) >= c.MOST_SEATS:
            raise ValueError(f"the quick core knows up to {c.MOST_SEATS} sequences a replica")
        check_groups(scenario, requests, closed)
        self.scenario, self.requests = scenario, requests
        warm = np.zeros(0, np.int32) if warm_lengths is None else warm_lengths
        self._state: State = new_state(scenario, requests, closed, warm)
        if closed is not None:
            for lane in range(closed.at_once):
                plan(self._state, 0.0, SEND, lane)
            self._state.counts[c.UNSENT] = closed.at_once
        if self._state.seconds[c.STALE_S] > 0:
            plan(self._state, 0.0, LOOK, 0)

    @property
    def now_s(self) -> float:
        """Virtual time."""
        return float(self._state.seconds[c.NOW_S])

    @property
    def warm_s(self) -> float | None:
        """When the first wave had ended."""
        warm_s = float(self._state.seconds[c.WARM_S])
        return None if math.isnan(warm_s) else warm_s

    def advance(self, until_s: float) -> bool:
        """Run to that time; False when the table of requests is used up."""
        if len(self._state.when) != self.requests.capacity:
            self._state = with_requests(self._state, self.requests)
        while (why := advance(self._state, float(until_s))) == HEAP_FULL:
            self._widen_heap()
        self.requests.sent = int(self._state.counts[c.SENT])
        return bool(why == REACHED)

    def _widen_heap(self) -> None:
        s = self._state
        self._state = s._replace(
            heap_s=np.concatenate([s.heap_s, s.heap_s]),
            heap_order=np.concatenate([s.heap_order, s.heap_order]),
            heap_what=np.concatenate([s.heap_what, s.heap_what]),
        )

    def set_backends(self, gateway: int, role: int, replicas: Ints) -> None:
        """The replicas that a gateway knows as healthy."""
        listed, known = self._state.backends[role, gateway]
        listed[: len(replicas)] = replicas
        known[:] = 0
        known[replicas] = 1
        self._state.gateway[gateway, c.BACKENDS + role] = len(replicas)
        looks = self.scenario.gateways.looks(len(replicas))
        self._state.gateway[gateway, c.LOOKS + role] = looks
        if self.scenario.gateways.policy == "affinity":
            self._set_ring(gateway, role, *ring(replicas))

    def _set_ring(self, gateway: int, role: int, points: Ints, owners: Ints) -> None:
        before, count = self._state.ring, len(points)
        if count > before.shape[3]:
            wide = np.zeros((*before.shape[:3], count), np.int64)
            wide[..., : before.shape[3]] = before
            self._state = self._state._replace(ring=wide)
        self._state.ring[role, gateway, :, :count] = points, owners
        self._state.gateway[gateway, c.RING + role] = count

    def fail(self, replica: int) -> None:
        """It dies; what it held is broken."""
        s = self._state
        broken = self._held_by(replica)
        row = s.of[replica]
        row[c.FREE_PAGES] = s.limits[row[c.MODEL_OF], c.PAGES]
        for place in (c.ALIVE, c.DECODING, c.CONTEXT, c.GROWING, c.IN_FLIGHT):
            row[place] = 0
        for place in (c.PREFIX_COUNT, c.CONTEXT_PAGES):
            row[place] = 0
        for place in (c.DUE, c.PARTIAL, c.QUEUE_HEAD, c.QUEUE_TAIL):
            row[place] = -1
        s.prefixes[replica] = -1
        if s.counts[c.AHEAD] == replica:
            s.counts[c.AHEAD] = -1
        for request in sorted(broken):
            leave_gateway(s, request, replica)
            end(s, request, s.seconds[c.NOW_S], FAILED)

    def _held_by(self, replica: int) -> set[int]:
        """Its requests: decoding, in the step in flight, in the middle of a prompt, waiting."""
        s = self._state
        row, seats = s.of[replica], s.seat[replica]
        found = set(s.seated[replica, seats[: row[c.DECODING]], c.REQUEST].tolist())
        if row[c.DUE] >= 0:
            found.update(self._linked(int(row[c.STEP_HEAD]))[: row[c.STEP_PROMPTS]])
        if row[c.PARTIAL] >= 0:
            found.add(int(row[c.PARTIAL]))
        found.update(self._linked(int(row[c.QUEUE_HEAD])))
        return found

    def _linked(self, request: int) -> list[int]:
        """A queue from this request on."""
        found = []
        while request >= 0:
            found.append(request)
            request = int(self._state.asked[request, c.NEXT])
        return found

    def start(self, replica: int) -> None:
        """It is alive, empty."""
        self._state.of[replica, c.ALIVE] = 1
        self._state.sent_by[:, replica] %= EJECTED
        self._state.refusals[:, replica] = 0

    def in_flight(self) -> Ints:
        """Requests in every replica."""
        return self._state.of[:, c.IN_FLIGHT].copy()

    def held(self) -> int:
        """Requests between clients and replicas."""
        return int(self._state.counts[c.HELD])

    def free_pages(self) -> Ints:
        """Pages in no one's use."""
        return self._state.of[:, c.FREE_PAGES].copy()

    def tally(self) -> Tally:
        """What was done so far."""
        of = self._state.of
        return Tally(
            steps=of[:, c.STEPS].copy(),
            busy_s=self._state.pace[:, c.BUSY_S].copy(),
            generated_tokens=of[:, c.GENERATED].copy(),
            prompt_tokens=of[:, c.PROMPTS].copy(),
            preemptions=of[:, c.PREEMPTED].copy(),
            decoded=of[:, c.DECODED].copy(),
        )
