"""The end of a step over arrays: tokens for the decoding sequences, the hot loop of it all."""

from __future__ import annotations

import numpy as np

from headrace.simulator.fast import columns as c
from headrace.simulator.fast.chance import FIRST, SECOND, WEYL, hashed
from headrace.simulator.fast.compiling import compiled


@compiled
def decode(s, r):
    """Give each its token and its accepted drafts; returns how many ended."""
    count = s.of[r, c.STEP_DECODING]
    model = s.of[r, c.MODEL_OF]
    drafted = s.limits[model, c.DRAFTED]
    lengths, ends, rooms = (
        s.slots[r, c.SLOT_LENGTH],
        s.slots[r, c.SLOT_END],
        s.slots[r, c.SLOT_ROOM],
    )
    if drafted == 1:
        draws = s.of[r, c.DRAWN]
        s.of[r, c.DRAWN] += count
        limit = s.thresholds[model, 0]
        produced, ended, growing = _decode_one_drafted(
            lengths, ends, rooms, count, s.of[r, c.KEYS], s.of[r, c.KEYS + 1], draws, limit
        )
    elif drafted == 0:
        produced, ended, growing = _decode_plain(lengths, ends, rooms, count)
    else:
        produced, ended, growing = _decode_drafted(s, r, count, drafted, s.thresholds[model])
    s.of[r, c.CONTEXT] += produced
    s.of[r, c.GENERATED] += produced
    s.of[r, c.DECODED] += count
    if growing > 0:
        s.of[r, c.GROWING] = 1
    return ended


@compiled
def _decode_plain(lengths, ends, rooms, count):
    ended = np.int32(0)
    growing = np.int32(0)
    for i in range(count):
        length = np.int32(lengths[i] + np.int32(1))
        lengths[i] = length
        ended += np.int32(length >= ends[i])
        growing += np.int32(length > rooms[i])
    return count, ended, growing


@compiled
def _decode_one_drafted(lengths, ends, rooms, count, key, other, first, limit):
    """One drafted token each; `hashed` is written out so that the loop runs in vector registers."""
    always = limit >= 1 << 32
    limit32 = np.uint32(limit & 0xFFFFFFFF)
    start = np.uint32(np.uint32(key) + np.uint32(np.uint32(first) * WEYL))
    fold = np.uint32(other)
    produced = np.int32(0)
    ended = np.int32(0)
    growing = np.int32(0)
    for i in range(count):
        x = np.uint32(start + np.uint32(np.uint32(i) * WEYL))
        x = np.uint32(np.uint32(x ^ (x >> np.uint32(16))) * FIRST)
        x = np.uint32(x ^ fold)
        x = np.uint32(np.uint32(x ^ (x >> np.uint32(13))) * SECOND)
        x = np.uint32(x ^ (x >> np.uint32(16)))
        accepted = np.int32(always | (x < limit32))
        before = lengths[i]
        length = min(np.int32(before + np.int32(1) + accepted), ends[i])
        lengths[i] = length
        produced += np.int32(length - before)
        ended += np.int32(length >= ends[i])
        growing += np.int32(np.int32(length + np.int32(1)) > rooms[i])
    return np.int64(produced), ended, growing


@compiled
def _decode_drafted(s, r, count, drafted, limits):
    lengths, ends, rooms = (
        s.slots[r, c.SLOT_LENGTH],
        s.slots[r, c.SLOT_END],
        s.slots[r, c.SLOT_ROOM],
    )
    first = s.of[r, c.DRAWN]
    s.of[r, c.DRAWN] += count
    produced, ended, growing = np.int64(0), np.int64(0), np.int64(0)
    for i in range(count):
        x = np.int64(hashed(s.of[r, c.KEYS], s.of[r, c.KEYS + 1], first + i))
        accepted = np.int64(0)
        for j in range(drafted):
            accepted += x < limits[j]
        before = np.int64(lengths[i])
        length = min(before + 1 + accepted, np.int64(ends[i]))
        lengths[i] = length
        produced += length - before
        ended += length >= ends[i]
        growing += length + drafted > rooms[i]
    return produced, ended, growing
