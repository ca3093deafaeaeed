"""The heap of events: by time, then by the order in which they were planned."""

from __future__ import annotations

from headrace.simulator.fast import columns as c
from headrace.simulator.fast.compiling import compiled

SEND, ROUTE, DELIVER, STEP, LOOK = range(5)
"""As `reference.Event`."""
KIND = 1 << 40
"""An event's `what` is its kind times this, plus the number of the lane, request or replica."""


@compiled
def plan(s, at_s, kind, number):
    """Push an event; returns its number in the order of planning."""
    order = s.counts[c.PLANNED] + 1
    s.counts[c.PLANNED] = order
    at = s.counts[c.HEAP]
    s.counts[c.HEAP] = at + 1
    while at > 0:
        parent = (at - 1) >> 1
        if s.heap_s[parent] <= at_s:
            break
        _move(s, parent, at)
        at = parent
    _put(s, at, at_s, order, kind * KIND + number)
    return order


@compiled
def pop(s):
    """Take the first event off; the caller has read it."""
    last = s.counts[c.HEAP] - 1
    s.counts[c.HEAP] = last
    at_s, order, what = s.heap_s[last], s.heap_order[last], s.heap_what[last]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= last:
            break
        if child + 1 < last and _before(s, child + 1, s.heap_s[child], s.heap_order[child]):
            child += 1
        if not _before(s, child, at_s, order):
            break
        _move(s, child, at)
        at = child
    _put(s, at, at_s, order, what)


@compiled
def _before(s, at, other_s, order):
    at_s = s.heap_s[at]
    return at_s < other_s or (at_s == other_s and s.heap_order[at] < order)


@compiled
def _move(s, source, target):
    s.heap_s[target] = s.heap_s[source]
    s.heap_order[target] = s.heap_order[source]
    s.heap_what[target] = s.heap_what[source]


@compiled
def _put(s, at, at_s, order, what):
    s.heap_s[at] = at_s
    s.heap_order[at] = order
    s.heap_what[at] = what
