"""`router.Router` over arrays."""

from __future__ import annotations

import numpy as np

from headrace.simulator.fast import columns as c
from headrace.simulator.fast.chance import below, hashed
from headrace.simulator.fast.compiling import compiled
from headrace.simulator.fast.memory import prefetch
from headrace.simulator.router import AFFINITY_KEY
from headrace.simulator.scenario import EJECTED, EVERY, POLICIES
from headrace.spec.balance import RESELECTIONS

CONNECTION, TURN, LEAST, DIRECT = (
    POLICIES.index("random-connection"),
    POLICIES.index("round-robin"),
    POLICIES.index("least-request"),
    POLICIES.index("direct"),
)
FOREVER = 1 << 62
MOST_LOOKS = 1 << 20
"""The least of load and look in one number, so that it is found without a jump."""
FEW_LOOKS = 4
"""The replicas that the next request looks at follow from how many were drawn: so few of them are
loaded a request ahead, since one of them gets it."""


@compiled
def gateway_of(s, request):
    """The gateway that its client is connected to."""
    return _source(s, request) % s.counts[c.GATEWAYS]


@compiled
def _source(s, request):
    """Who sends it: a place of a closed loop, or nobody else."""
    return np.int64(s.asked[request, c.LANE]) if s.counts[c.CLOSED] == 1 else np.int64(request)


@compiled
def pick(s, request, gateway, role):
    """The replica for a request; -1 without backends."""
    count = s.gateway[gateway, c.BACKENDS + role]
    if count == 0:
        return np.int64(-1)
    policy = s.counts[c.POLICY]
    if policy == CONNECTION:
        return _connection(s, request, gateway, role, count)
    if policy == DIRECT:
        return s.backends[role, gateway, 0, _source(s, request) % count]
    if policy != TURN and policy != LEAST:
        return _by_prefix(s, request, gateway, role, count)
    replica = np.int64(-1)
    for _ in range(RESELECTIONS + 1):
        if policy == TURN:
            replica = _next_in_turn(s, request, gateway, role, count)
        else:
            replica = _least(s, gateway, role, count)
        if s.sent_by[gateway, replica] < EJECTED and not _has_refused(s, request, replica):
            break
    return replica


@compiled
def _has_refused(s, request, replica):
    """Whether it is one of the last two that did."""
    if s.marks[request, c.TRIES] == 0:
        return False
    return s.asked[request, c.REPLICA] == replica or s.asked[request, c.REFUSED_BY] == replica


@compiled
def _draw(s, gateway, count):
    number = s.gateway[gateway, c.GATEWAY_DRAWN]
    s.gateway[gateway, c.GATEWAY_DRAWN] = number + 1
    return below(
        s.gateway[gateway, c.GATEWAY_KEYS + 0],
        s.gateway[gateway, c.GATEWAY_KEYS + 1],
        number,
        count,
    )


@compiled
def _connection(s, request, gateway, role, count):
    if s.counts[c.CLOSED] == 0:
        return s.backends[role, gateway, 0, _draw(s, gateway, count)]
    lane = s.asked[request, c.LANE]
    replica = s.lanes[lane, c.CONNECTED + role]
    known = replica >= 0 and s.backends[role, gateway, 1, replica] == 1
    if not known or s.lanes[lane, c.CONNECTION_LEFT + role] == 0:
        replica = s.backends[role, gateway, 0, _draw(s, gateway, count)]
        s.lanes[lane, c.CONNECTED + role] = replica
        most = s.counts[c.PER_CONNECTION]
        s.lanes[lane, c.CONNECTION_LEFT + role] = most if most > 0 else FOREVER
    s.lanes[lane, c.CONNECTION_LEFT + role] -= 1
    return replica


@compiled
def _next_in_turn(s, request, gateway, role, count):
    chance = hashed(
        s.gateway[gateway, c.GATEWAY_KEYS + 1],
        s.gateway[gateway, c.GATEWAY_KEYS + 0],
        _source(s, request),
    )
    worker = np.int64(chance) % s.counts[c.WORKERS]
    turn = s.turns[role, gateway, worker]
    s.turns[role, gateway, worker] = turn + 1
    return s.backends[role, gateway, 0, turn % count]


@compiled
def _load(s, gateway, replica):
    return s.of[replica, c.SEEN] if s.seconds[c.STALE_S] > 0 else s.sent_by[gateway, replica]


@compiled
def _least(s, gateway, role, count):
    looks = s.gateway[gateway, c.LOOKS + role]
    if looks == EVERY:
        return _least_of_all(s, gateway, role, count)
    first = s.gateway[gateway, c.GATEWAY_DRAWN]
    s.gateway[gateway, c.GATEWAY_DRAWN] = first + looks
    key, other = s.gateway[gateway, c.GATEWAY_KEYS], s.gateway[gateway, c.GATEWAY_KEYS + 1]
    listed = s.backends[role, gateway, 0]
    stale = s.seconds[c.STALE_S] > 0
    best = np.int64(MOST_LOOKS) * 2 * EJECTED
    for look in range(looks):
        replica = listed[below(key, other, first + look, count)]
        load = s.of[replica, c.SEEN] if stale else s.sent_by[gateway, replica]
        best = min(best, load * MOST_LOOKS + look)
    if looks <= FEW_LOOKS:
        for look in range(looks, 2 * looks):
            prefetch(s.of, listed[below(key, other, first + look, count)], 0)
    return listed[below(key, other, first + best % MOST_LOOKS, count)]


@compiled
def _least_of_all(s, gateway, role, count):
    first = _draw(s, gateway, count)
    best = s.backends[role, gateway, 0, first]
    for i in range(1, count):
        replica = s.backends[role, gateway, 0, (first + i) % count]
        if _load(s, gateway, replica) < _load(s, gateway, best):
            best = replica
    return best


@compiled
def _by_prefix(s, request, gateway, role, count):
    points = s.gateway[gateway, c.RING + role]
    key = np.int64(s.asked[request, c.GROUP]) if s.counts[c.GROUPS] > 0 else np.int64(request)
    most = s.seconds[c.BOUND] * (s.gateway[gateway, c.SENT_SUM] + 1) / count
    sought = np.int64(hashed(AFFINITY_KEY, AFFINITY_KEY, key))
    at, behind = 0, points
    while at < behind:
        middle = (at + behind) // 2
        if s.ring[role, gateway, 0, middle] < sought:
            at = middle + 1
        else:
            behind = middle
    for i in range(points):
        replica = s.ring[role, gateway, 1, (at + i) % points]
        if s.sent_by[gateway, replica] + 1 <= most and not _has_refused(s, request, replica):
            return replica
    return s.ring[role, gateway, 1, at % points]
