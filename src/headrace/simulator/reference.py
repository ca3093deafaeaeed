"""The simulation, written to be read: a heap of events around the real schedulers.

It is what the quick core is held against, and what runs where numba is not installed. Events of
one moment happen in the order in which they were planned; arrivals of an open loop come first.
"""

from __future__ import annotations

import heapq
import math
from enum import IntEnum

import numpy as np

from headrace.scheduler.sequence import Sequence
from headrace.simulator.fleet import Tally, check_groups
from headrace.simulator.replica import Replica
from headrace.simulator.requests import DONE, FAILED, WARMUP, Requests
from headrace.simulator.router import NONE, Router
from headrace.simulator.scenario import DECODE, PREFILL, Ints, Scenario
from headrace.simulator.users import Users
from headrace.simulator.workload import Closed


class Event(IntEnum):
    """What happens, and to which number: a lane, a request or a replica."""

    SEND = 0
    AGAIN = 1
    ROUTE = 2
    DELIVER = 3
    STEP = 4
    LOOK = 5


class ReferenceFleet:
    """See `SimulatedFleet`."""

    def __init__(
        self,
        scenario: Scenario,
        requests: Requests,
        closed: Closed | None = None,
        warm_lengths: np.ndarray | None = None,
    ) -> None:
        check_groups(scenario, requests, closed)
        lanes = closed.concurrency if closed else 0
        self.scenario, self.requests, self.closed = scenario, requests, closed
        self.router = Router(scenario, requests, lanes)
        self.replicas = [Replica(scenario, i) for i in range(scenario.replicas)]
        self.users = Users(closed.talk, lanes) if closed and closed.talk else None
        self._heap: list[tuple[float, int, Event, int]] = []
        self._planned = 0
        self._now_s = 0.0
        self._stage: dict[int, int] = {}
        self._tries: dict[int, int] = {}
        self._held = 0
        self._picker_free_s = 0.0
        self._gateway_free_s = [0.0] * scenario.gateways.count
        self._client_free_s = 0.0
        self._warm_lengths = [] if warm_lengths is None else warm_lengths.tolist()
        self._unsent = self._warm_left = 0
        self._warm_s: float | None = 0.0
        if closed is not None:
            self._begin_closed(closed)
        if scenario.gateways.stale_s > 0:
            self._plan(0.0, Event.LOOK, 0)

    @property
    def now_s(self) -> float:
        """Virtual time."""
        return self._now_s

    @property
    def warm_s(self) -> float | None:
        """When the first wave had ended."""
        return self._warm_s

    # The clock

    def advance(self, until_s: float) -> bool:
        """Run to that time; False when the table of requests is used up."""
        while True:
            arrival_s = self._next_arrival_s()
            event_s = self._heap[0][0] if self._heap else math.inf
            if min(arrival_s, event_s) > until_s:
                self._now_s = max(self._now_s, until_s)
                return True
            if arrival_s <= event_s:
                self._now_s = arrival_s
                self.requests.sent += 1
                self._reach_gateway(self.requests.sent - 1)
                continue
            if self._heap[0][2] <= Event.AGAIN and self._is_used_up():
                return False
            self._now_s, number, event, what = heapq.heappop(self._heap)
            self._happen(number, event, what)

    def _is_used_up(self) -> bool:
        requests, closed = self.requests, self.closed
        if closed is None:
            return False
        most = max(self._pools)
        if closed.requests:
            most = min(most, closed.requests - requests.sent)
        return requests.sent + most > requests.capacity

    def _next_arrival_s(self) -> float:
        requests = self.requests
        if self.closed is not None or requests.sent == requests.capacity:
            return math.inf
        return float(requests.sent_s[requests.sent])

    def _plan(self, at_s: float, event: Event, what: int) -> int:
        self._planned += 1
        heapq.heappush(self._heap, (at_s, self._planned, event, what))
        return self._planned

    def _happen(self, number: int, event: Event, what: int) -> None:
        if event is Event.SEND:
            self._send(what)
        elif event is Event.AGAIN:
            self._again(what)
        elif event is Event.ROUTE:
            self._route(what)
        elif event is Event.DELIVER:
            self._deliver(what)
        elif event is Event.STEP:
            if self.replicas[what].due == number:
                self._end_step(what)
        else:
            self.router.seen = self.in_flight().tolist()
            self._plan(self._now_s + self.scenario.gateways.stale_s, Event.LOOK, 0)

    # Clients

    def _begin_closed(self, closed: Closed) -> None:
        self._pools = closed.pools(self.scenario.addresses)
        self._free: list[list[int]] = [[] for _ in self._pools]
        if closed.together:
            self._warm_left = 0
        else:
            self._warm_left = closed.concurrency
            self._warm_s = None
        self._unsent = closed.at_once
        for lane in range(closed.at_once):
            self._plan(0.0, Event.SEND, lane)

    def _again(self, lane: int) -> None:
        """The lane goes on, with the others that wait for it at its server."""
        pool = lane % len(self._pools)
        self._free[pool].append(lane)
        if len(self._free[pool]) >= self._pools[pool]:
            together, self._free[pool] = self._free[pool], []
            for one in together:
                self._send(one)

    def _send(self, lane: int) -> None:
        requests = self.requests
        request = requests.sent
        assert self.closed is not None
        if 0 < self.closed.requests <= request:
            return
        requests.sent += 1
        requests.sent_s[request] = self._now_s
        requests.lane[request] = lane
        if self.users is not None:
            self.users.say(requests, request, spread=self._warm_lengths[lane] > 0)
        if self._warm_lengths[lane] > 0:
            requests.output_tokens[request] = self._warm_lengths[lane]
            requests.phase[request] = WARMUP
            self._warm_lengths[lane] = 0
        self._reach_gateway(request)

    def _ramp(self, at_s: float) -> None:
        """A request of the first wave has its first token: the next one may be sent."""
        assert self.closed is not None
        if self._unsent < self.closed.concurrency:
            self._plan(at_s + self.scenario.client.turnaround_s, Event.SEND, self._unsent)
            self._unsent += 1

    def _end(self, request: int, at_s: float, status: int) -> None:
        requests = self.requests
        requests.done_s[request] = at_s
        requests.status[request] = status
        self._stage.pop(request, None)
        self._tries.pop(request, None)
        self.router.refused.pop(request, None)
        if self.closed is None:
            return
        if requests.phase[request] == WARMUP:
            if math.isnan(requests.first_s[request]):
                self._ramp(at_s)
            self._warm_left -= 1
            if self._warm_left == 0:
                self._warm_s = at_s
        client = self.scenario.client
        pause_s = client.turnaround_s if status == DONE else client.retry_s
        if self.users is not None:
            if status == FAILED:
                self.users.broken(requests, request)
            elif self.users.answered(requests, request):
                pause_s = self.users.talk.think_s
        self._plan(at_s + pause_s, Event.AGAIN, int(requests.lane[request]))

    # Gateways

    def _gateway(self, request: int) -> int:
        lanes = self.requests.lane
        return (int(lanes[request]) if len(lanes) else request) % self.scenario.gateways.count

    def _reach_gateway(self, request: int) -> None:
        pick_s = self.scenario.gateways.pick_s
        if pick_s > 0:
            self._picker_free_s = max(self._picker_free_s, self._now_s) + pick_s
            self._held += 1
            self._plan(self._picker_free_s, Event.ROUTE, request)
        else:
            self._held += 1
            self._route(request)

    def _role(self, request: int) -> int:
        return self._stage.get(request, PREFILL)

    def _route(self, request: int) -> None:
        gateway = self._gateway(request)
        replica = self.router.pick(request, gateway, self._role(request))
        if replica == NONE:
            self._held -= 1
            self._end(request, self._now_s, FAILED)
            return
        self.requests.replica[request] = replica
        self.router.sent[gateway][replica] += 1
        delay_s = float(self.scenario.delay_s[gateway, replica])
        if delay_s > 0:
            self._plan(self._now_s + delay_s, Event.DELIVER, request)
        else:
            self._deliver(request)

    def _leave_gateway(self, request: int) -> None:
        self.router.sent[self._gateway(request)][int(self.requests.replica[request])] -= 1

    # Replicas

    def _deliver(self, request: int) -> None:
        number = int(self.requests.replica[request])
        replica = self.replicas[number]
        if not replica.alive:
            self._refused(request)
            return
        sequence = self._sequence(request, replica)
        self._held -= 1
        if replica.scheduler.rejection(sequence) is not None:
            self._leave_gateway(request)
            self._end(request, self._now_s, FAILED)
            return
        replica.scheduler.add(sequence)
        replica.held[request] = sequence
        if replica.step is None:
            self._begin_step(number)

    def _refused(self, request: int) -> None:
        """Nobody listens there: the gateway tries another, up to its limit."""
        self._leave_gateway(request)
        number = int(self.requests.replica[request])
        self.router.refuse(request, self._gateway(request), number)
        self._tries[request] = self._tries.get(request, 0) + 1
        if self._tries[request] >= self.scenario.gateways.attempts:
            self._held -= 1
            self._end(request, self._now_s, FAILED)
        else:
            self._plan(self._now_s + self.scenario.gateways.refused_s, Event.ROUTE, request)

    def _sequence(self, request: int, replica: Replica) -> Sequence:
        requests = self.requests
        prompt, output = int(requests.input_tokens[request]), int(requests.output_tokens[request])
        if self.scenario.transfer is not None:
            if self._role(request) == DECODE:
                return Sequence(prompt, output, request, hit_tokens=prompt - 1)
            output = 1
        hit = None
        if len(requests.group):
            hit = requests.hit_tokens[request] = self._hit(request, replica)
        return Sequence(prompt, output, request, hit_tokens=hit)

    def _hit(self, request: int, replica: Replica) -> int:
        """Tokens of the prompt in the replica's cache."""
        group = int(self.requests.group[request])
        known = int(self.requests.prefix_tokens[request])
        users = self.users
        if users is None:
            return known if replica.prefixes.find(group) else 0
        free_pages = replica.scheduler.free_pages
        kept = replica.contexts.take(group, users.conversation[group], free_pages)
        page_tokens = replica.spec.cache.page_tokens
        return max(kept, users.talk.shared_tokens) // page_tokens * page_tokens

    def _begin_step(self, number: int) -> None:
        replica = self.replicas[number]
        before = replica.scheduler.counters.preemptions
        step = replica.scheduler.schedule()
        replica.preempted += replica.scheduler.counters.preemptions - before
        replica.step = step
        if step is None:
            return
        step_s = step.length_s(replica.model) / replica.speed
        replica.busy_s += step_s
        replica.due = self._plan(self._now_s + step_s, Event.STEP, number)

    def _end_step(self, number: int) -> None:
        replica = self.replicas[number]
        step = replica.step
        assert step is not None
        sequences = replica.scheduler.finish(step)
        replica.steps += 1
        replica.decoded += len(step.decoding)
        replica.prompts += int(step.batch.prefill_tokens)
        out_s = self._emitted_s(number, len(sequences))
        for sequence in sequences:
            replica.generated += sequence.new_tokens
            self._emit(sequence, replica, number, out_s)
        self._begin_step(number)

    def _emitted_s(self, number: int, chunks: int) -> float:
        """When the step's chunks are at the clients: gateway and clients take their time."""
        gateways = self.scenario.gateways
        interval = self.replicas[number].spec.stream_interval
        out_s = self._now_s
        if gateways.chunk_s > 0:
            gateway = number % gateways.count
            free_s = max(self._gateway_free_s[gateway], out_s)
            out_s = free_s + chunks * gateways.chunk_s / interval
            self._gateway_free_s[gateway] = out_s
        if self.scenario.client.chunk_s > 0:
            free_s = max(self._client_free_s, out_s)
            out_s = free_s + chunks * self.scenario.client.chunk_s / interval
            self._client_free_s = out_s
        return out_s

    def _emit(self, sequence: Sequence, replica: Replica, number: int, out_s: float) -> None:
        request: int = sequence.payload
        delay_s = float(self.scenario.delay_s[self._gateway(request), number])
        at_s = out_s + delay_s
        transfer = self.scenario.transfer
        handed_over = transfer is not None and self._role(request) == PREFILL
        if sequence.is_first_output and not handed_over:
            self.requests.first_s[request] = at_s
            if self.closed is not None and self.requests.phase[request] == WARMUP:
                self._ramp(at_s)
        if not sequence.finished:
            return
        del replica.held[request]
        self._leave_gateway(request)
        if transfer is not None and handed_over:
            self._stage[request] = DECODE
            self._held += 1
            pause_s = transfer.seconds(sequence.prompt_tokens)
            self._plan(self._now_s + pause_s, Event.ROUTE, request)
        else:
            if self.users is not None:
                user = int(self.requests.lane[request])
                replica.contexts.keep(user, self.users.conversation[user], sequence.length)
            self._end(request, at_s, DONE)

    # Control

    def set_backends(self, gateway: int, role: int, replicas: Ints) -> None:
        """The replicas that a gateway knows as healthy."""
        self.router.set_backends(gateway, role, replicas)

    def fail(self, replica: int) -> None:
        """It dies; what it held is broken."""
        dead = self.replicas[replica]
        broken = sorted(dead.held)
        dead.alive = False
        dead.renew()
        for request in broken:
            self._leave_gateway(request)
            self._end(request, self._now_s, FAILED)

    def start(self, replica: int) -> None:
        """It is alive, empty."""
        self.replicas[replica].alive = True
        self.router.revive(replica)

    # What can be seen

    def in_flight(self) -> Ints:
        """Requests in every replica."""
        return np.array([len(replica.held) for replica in self.replicas], np.int64)

    def held(self) -> int:
        """Requests between clients and replicas."""
        return self._held

    def free_pages(self) -> Ints:
        """Pages in no one's use."""
        return np.array([replica.scheduler.free_pages for replica in self.replicas], np.int64)

    def tally(self) -> Tally:
        """What was done so far."""
        of = self.replicas
        return Tally(
            steps=np.array([r.steps for r in of]),
            busy_s=np.array([r.busy_s for r in of]),
            generated_tokens=np.array([r.generated for r in of]),
            prompt_tokens=np.array([r.prompts for r in of]),
            preemptions=np.array([r.preempted for r in of]),
            decoded=np.array([r.decoded for r in of]),
        )
