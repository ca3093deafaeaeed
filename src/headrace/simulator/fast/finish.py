"""The end of a step over arrays: tokens for the decoding sequences, the hot loop of it all."""

from __future__ import annotations

import numpy as np

from headrace.simulator.fast import columns as c
from headrace.simulator.fast.chance import FIRST, SECOND, WEYL, hashed
from headrace.simulator.fast.compiling import compiled
from headrace.simulator.fast.memory import prefetch
from headrace.simulator.fast.schedule import next_stopped

SEAT_BYTES = 4 * c.OF_SEAT
"""What `seated` takes for a sequence."""


@compiled
def draw(s, r):
    """Take the tokens of the step off what is left of each; accepted drafts, and how many stopped.

    Nothing but the step's own end looks at `left`, so that this may be done an event ahead.
    """
    count = s.of[r, c.STEP_DECODING]
    model = s.of[r, c.MODEL_OF]
    drafted = s.limits[model, c.DRAFTED]
    left = s.left[r]
    accepted = np.int64(0)
    if drafted == 0:
        stopped = _decode_plain(left, count)
    else:
        first = s.of[r, c.DECODED]
        key, other = s.of[r, c.KEYS], s.of[r, c.KEYS + 1]
        limits = s.thresholds[model]
        if drafted == 1:
            accepted, stopped = _decode_one_drafted(left, count, key, other, first, limits[0])
        else:
            accepted, stopped = _decode_drafted(left, count, key, other, first, drafted, limits)
    return accepted, np.int64(stopped)


@compiled
def draw_ahead(s, r):
    """`draw` while another event has its turn. What the step's end will look at is then known, and
    loaded meanwhile: the seats that stopped, and the prompts and the seat of those that start.
    """
    accepted, stopped = draw(s, r)
    s.counts[c.AHEAD] = r
    s.counts[c.AHEAD_ACCEPTED] = accepted
    s.counts[c.AHEAD_STOPPED] = stopped
    i = np.int64(-1)
    for _ in range(stopped):
        i = next_stopped(s.left[r], i + 1, s.left.shape[1])
        prefetch(s.seated, r, SEAT_BYTES * np.int64(s.seat[r, i]))
    if s.of[r, c.STEP_PROMPTS] > 0:
        prefetch(s.asked, s.of[r, c.STEP_HEAD], 0)
        prefetch(s.seated, r, SEAT_BYTES * np.int64(s.seat[r, s.of[r, c.DECODING]]))


@compiled
def drawn(s, r):
    """What `draw` gave, or gives now."""
    if s.counts[c.AHEAD] == r:
        s.counts[c.AHEAD] = -1
        return s.counts[c.AHEAD_ACCEPTED], s.counts[c.AHEAD_STOPPED]
    return draw(s, r)


@compiled
def decode(s, r, accepted, stopped):
    """Give each its token and its drawn drafts; returns how many ended, all from which on."""
    count = s.of[r, c.STEP_DECODING]
    left = s.left[r]
    produced = count + accepted
    ended, first_stopped = 0, 0
    if stopped > 0:
        first_stopped = next_stopped(left, 0, count)
        ended, beyond = _stop(s, r, first_stopped, stopped)
        produced -= beyond
    s.of[r, c.CONTEXT] += produced
    s.of[r, c.GENERATED] += produced
    s.of[r, c.DECODED] += count
    return ended, first_stopped


@compiled
def _stop(s, r, first, stopped):
    """Look at those that are at their stop: how many ended, and tokens beyond their ends."""
    left = s.left[r]
    ended, beyond = 0, 0
    i = first
    for _ in range(stopped):
        i = next_stopped(left, i, len(left))
        seated = s.seated[r, s.seat[r, i]]
        length, last = seated[c.STOP] - left[i], seated[c.END]
        if length >= last:
            beyond += length - last
            seated[c.STOP] = last
            left[i] = 0
            ended += 1
        else:
            s.of[r, c.GROWING] = 1 + first
        i += 1
    return ended, beyond


@compiled
def _decode_plain(left, count):
    stopped = np.int32(0)
    for i in range(count):
        rest = np.int16(left[i] - np.int16(1))
        left[i] = rest
        stopped += np.int32(rest <= 0)
    return stopped


@compiled
def _decode_one_drafted(left, count, key, other, first, limit):
    """One drafted token each; `hashed` is written out so that the loop runs in vector registers."""
    always = limit >= 1 << 32
    limit32 = np.uint32(limit & 0xFFFFFFFF)
    start = np.uint32(np.uint32(key) + np.uint32(np.uint32(first) * WEYL))
    fold = np.uint32(other)
    accepted = np.int32(0)
    stopped = np.int32(0)
    for i in range(count):
        x = np.uint32(start + np.uint32(np.uint32(i) * WEYL))
        x = np.uint32(np.uint32(x ^ (x >> np.uint32(16))) * FIRST)
        x = np.uint32(x ^ fold)
        x = np.uint32(np.uint32(x ^ (x >> np.uint32(13))) * SECOND)
        x = np.uint32(x ^ (x >> np.uint32(16)))
        more = np.int32(always | (x < limit32))
        rest = np.int16(left[i] - np.int16(1) - np.int16(more))
        left[i] = rest
        accepted += more
        stopped += np.int32(rest <= 0)
    return np.int64(accepted), stopped


@compiled
def _decode_drafted(left, count, key, other, first, drafted, limits):
    accepted, stopped = np.int64(0), np.int32(0)
    for i in range(count):
        x = np.int64(hashed(key, other, first + i))
        more = np.int64(0)
        for j in range(drafted):
            more += x < limits[j]
        rest = left[i] - 1 - more
        left[i] = rest
        accepted += more
        stopped += np.int32(rest <= 0)
    return accepted, stopped
