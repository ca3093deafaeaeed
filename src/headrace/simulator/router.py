"""How gateways choose a replica, written to be read. The quick core does the same."""

from __future__ import annotations

from bisect import bisect_left

from headrace.simulator.chance import hashed, keys
from headrace.simulator.fleet import ring
from headrace.simulator.requests import Requests
from headrace.simulator.scenario import EJECT_AFTER, EJECTED, EVERY, Ints, Scenario
from headrace.spec.balance import RESELECTIONS

NONE = -1
ROUTING_KEYS, WORKER_KEYS = 2, 3
AFFINITY_KEY = 0x27D4EB2F


class Router:
    """All gateways: their backends, their counts, their chances."""

    def __init__(self, scenario: Scenario, requests: Requests, lanes: int) -> None:
        self.spec, self.requests = scenario.gateways, requests
        gateways, replicas = self.spec.count, scenario.replicas
        self.backends: list[list[list[int]]] = [[[] for _ in range(gateways)] for _ in range(2)]
        self._rings: list[list[tuple[list[int], list[int]]]] = [
            [([], []) for _ in range(gateways)] for _ in range(2)
        ]
        self._keys = keys(scenario.seed, ROUTING_KEYS, gateways).tolist()
        self._drawn = [0] * gateways
        self.sent = [[0] * replicas for _ in range(gateways)]
        """In flight, as each gateway counts what it sent."""
        self.refused: dict[int, tuple[int, ...]] = {}
        """The last two replicas that refused a request."""
        self._refusals = [[0] * replicas for _ in range(gateways)]
        self.seen = [0] * replicas
        """In flight, as the replicas reported it last."""
        key, other = keys(scenario.seed, WORKER_KEYS, 1)[0].tolist()
        turns = range(2 * gateways * self.spec.workers)
        self._turns = [hashed(key, other, turn) for turn in turns]
        self._connected = [[NONE] * lanes for _ in range(2)]
        self._left = [[0] * lanes for _ in range(2)]

    def set_backends(self, gateway: int, role: int, replicas: Ints) -> None:
        """The replicas that a gateway knows as healthy."""
        self.backends[role][gateway] = replicas.tolist()
        if self.spec.policy == "affinity":
            points, owners = ring(replicas)
            self._rings[role][gateway] = points.tolist(), owners.tolist()

    def refuse(self, request: int, gateway: int, replica: int) -> None:
        """Nobody listens there."""
        self.refused[request] = (*self.refused.get(request, ()), replica)[-2:]
        self._refusals[gateway][replica] += 1
        if self._refusals[gateway][replica] == EJECT_AFTER:
            self.sent[gateway][replica] += EJECTED

    def revive(self, replica: int) -> None:
        """It lives again."""
        for sent, refusals in zip(self.sent, self._refusals, strict=True):
            sent[replica] %= EJECTED
            refusals[replica] = 0

    def pick(self, request: int, gateway: int, role: int) -> int:
        """The replica for a request; NONE without backends."""
        backends = self.backends[role][gateway]
        if not backends:
            return NONE
        policy = self.spec.policy
        if policy == "random-connection":
            return self._connection(request, gateway, role, backends)
        if policy == "affinity":
            return self._by_prefix(request, gateway, role, len(backends))
        if policy == "direct":
            return backends[self._source(request) % len(backends)]
        for _ in range(RESELECTIONS + 1):
            if policy == "round-robin":
                replica = self._next_in_turn(request, gateway, role, backends)
            else:
                replica = self._least(gateway, backends)
            is_out = self.sent[gateway][replica] >= EJECTED
            if not is_out and replica not in self.refused.get(request, ()):
                break
        return replica

    def _draw(self, gateway: int, below: int) -> int:
        number = self._drawn[gateway]
        self._drawn[gateway] = number + 1
        key, other = self._keys[gateway]
        return (hashed(key, other, number) * below) >> 32

    def _connection(self, request: int, gateway: int, role: int, backends: list[int]) -> int:
        """A lane's connection goes where it went, as long as it lives."""
        if len(self.requests.lane) == 0:
            return backends[self._draw(gateway, len(backends))]
        lane = int(self.requests.lane[request])
        replica = self._connected[role][lane]
        if replica == NONE or self._left[role][lane] == 0 or replica not in backends:
            replica = backends[self._draw(gateway, len(backends))]
            self._connected[role][lane] = replica
            self._left[role][lane] = self.spec.requests_per_connection or 2**62
        self._left[role][lane] -= 1
        return replica

    def _source(self, request: int) -> int:
        """Who sends it: a place of a closed loop, or nobody else."""
        return request if len(self.requests.lane) == 0 else int(self.requests.lane[request])

    def _next_in_turn(self, request: int, gateway: int, role: int, backends: list[int]) -> int:
        """Connections are dealt to worker threads by chance; each has a turn of its own."""
        key, other = self._keys[gateway]
        worker = hashed(other, key, self._source(request)) % self.spec.workers
        place = (role * self.spec.count + gateway) * self.spec.workers + worker
        turn = self._turns[place]
        self._turns[place] = turn + 1
        return backends[turn % len(backends)]

    def _least(self, gateway: int, backends: list[int]) -> int:
        load = self.seen if self.spec.stale_s > 0 else self.sent[gateway]
        count = len(backends)
        looks = self.spec.looks(count)
        best = NONE
        if looks == EVERY:
            first = self._draw(gateway, count)
            for i in range(count):
                replica = backends[(first + i) % count]
                if best == NONE or load[replica] < load[best]:
                    best = replica
            return best
        for _ in range(looks):
            replica = backends[self._draw(gateway, count)]
            if best == NONE or load[replica] < load[best]:
                best = replica
        return best

    def _by_prefix(self, request: int, gateway: int, role: int, count: int) -> int:
        """The first replica on the ring that is not over the bound."""
        points, owners = self._rings[role][gateway]
        grouped = len(self.requests.group) > 0
        key = int(self.requests.group[request]) if grouped else request
        sent = self.sent[gateway]
        most = self.spec.bound * (sum(number % EJECTED for number in sent) + 1) / count
        at = bisect_left(points, hashed(AFFINITY_KEY, AFFINITY_KEY, key))
        for i in range(len(points)):
            replica = owners[(at + i) % len(points)]
            if sent[replica] + 1 <= most and replica not in self.refused.get(request, ()):
                return replica
        return owners[at % len(points)]
