"""The heap of events: by time, then by the order in which they were planned."""

from __future__ import annotations

import numpy as np

from headrace.simulator.fast import columns as c
from headrace.simulator.fast.compiling import compiled

SEND, AGAIN, ROUTE, DELIVER, STEP, LOOK = range(6)
"""As `reference.Event`."""
KIND = 1 << 40
"""An event's `what` is its kind times this, plus the number of the lane, request or replica."""
WAYS = 4
"""Children of a place: half as many levels as with two, and each set lies in a line."""


@compiled
def plan(s, at_s, kind, number):
    """Push an event; returns its number in the order of planning."""
    order = s.counts[c.PLANNED] + 1
    s.counts[c.PLANNED] = order
    at = s.counts[c.HEAP]
    s.counts[c.HEAP] = at + 1
    _rise(s, at, at_s, order, kind * KIND + number)
    return order


@compiled
def pop(s):
    """Take the first event off; the caller has read it. Returns where the next but one may be.

    The hole goes down to a leaf, without a look at the last event, which then rises from there: it
    is a late one, and what is compared on the way down is chosen without a jump.
    """
    last = s.counts[c.HEAP] - 1
    s.counts[c.HEAP] = last
    hole = 0
    entered = np.int64(0)
    while WAYS * hole + WAYS < last:
        first = WAYS * hole + 1
        child = _earlier(s, _earlier(s, first, first + 1), _earlier(s, first + 2, first + 3))
        _move(s, child, hole)
        hole = child
        if first == 1:
            entered = child
    child = WAYS * hole + 1
    if child < last:
        for other in range(child + 1, last):
            child = _earlier(s, child, other)
        _move(s, child, hole)
        hole = child
    _rise(s, hole, s.heap_s[last], s.heap_order[last], s.heap_what[last])
    return entered


@compiled
def _earlier(s, one, other):
    """That of two places whose event comes first."""
    one_s, other_s = s.heap_s[one], s.heap_s[other]
    later = np.int64(other_s < one_s)
    if one_s == other_s:
        later = np.int64(s.heap_order[other] < s.heap_order[one])
    return one + (other - one) * later


@compiled
def _rise(s, at, at_s, order, what):
    """Put an event where it belongs between a free place and the top."""
    while at > 0:
        parent = (at - 1) // WAYS
        parent_s = s.heap_s[parent]
        if parent_s < at_s or (parent_s == at_s and s.heap_order[parent] < order):
            break
        _move(s, parent, at)
        at = parent
    s.heap_s[at] = at_s
    s.heap_order[at] = order
    s.heap_what[at] = what


@compiled
def _move(s, source, target):
    s.heap_s[target] = s.heap_s[source]
    s.heap_order[target] = s.heap_order[source]
    s.heap_what[target] = s.heap_what[source]
