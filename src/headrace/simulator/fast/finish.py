"""The end of a step over arrays: tokens for the decoding sequences, the hot loop of it all."""

from __future__ import annotations

import numpy as np

from headrace.simulator.fast import columns as c
from headrace.simulator.fast.chance import FIRST, SECOND, WEYL, hashed
from headrace.simulator.fast.compiling import compiled
from headrace.simulator.fast.schedule import next_stopped


@compiled
def decode(s, r):
    """Give each its token and its accepted drafts; returns how many ended, all from which on."""
    count = s.of[r, c.STEP_DECODING]
    model = s.of[r, c.MODEL_OF]
    drafted = s.limits[model, c.DRAFTED]
    left = s.left[r]
    produced = count
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
        produced += accepted
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
