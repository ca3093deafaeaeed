"""`simulator.prefix` over arrays: what a replica's cache keeps is a list in order of use."""

from __future__ import annotations

import numpy as np

from headrace.simulator.fast import columns as c
from headrace.simulator.fast.compiling import compiled
from headrace.simulator.fast.schedule import pages_for


@compiled
def find_prefix(s, r, group):
    """Whether the replica has it; it has it now, and it is the last that would go."""
    before, after = s.prefixes[r, 0], s.prefixes[r, 1]
    anchor = s.counts[c.GROUPS]
    found = after[group] >= 0
    if found:
        _unlink(before, after, group)
    else:
        s.of[r, c.PREFIX_COUNT] += 1
    _append(before, after, anchor, group)
    most = s.counts[c.CACHED_GROUPS]
    if most > 0 and s.of[r, c.PREFIX_COUNT] > most:
        oldest = after[anchor]
        _unlink(before, after, oldest)
        s.of[r, c.PREFIX_COUNT] -= 1
    return found


@compiled
def take_context(s, r, user):
    """As `Contexts.take`."""
    anchor = s.counts[c.GROUPS]
    while s.of[r, c.CONTEXT_PAGES] > s.of[r, c.FREE_PAGES]:
        _drop(s, r, np.int64(s.prefixes[r, 1, anchor]))
    kept = s.contexts[r, user]
    if s.prefixes[r, 1, user] < 0 or kept[c.KEPT_OF] != s.lanes[user, c.CONVERSATION]:
        return np.int64(0)
    _drop(s, r, user)
    return np.int64(kept[c.KEPT_TOKENS])


@compiled
def keep_context(s, r, user, tokens):
    """As `Contexts.keep`."""
    if s.prefixes[r, 1, user] >= 0:
        _drop(s, r, user)
    s.contexts[r, user, c.KEPT_TOKENS] = tokens
    s.contexts[r, user, c.KEPT_OF] = s.lanes[user, c.CONVERSATION]
    s.of[r, c.CONTEXT_PAGES] += pages_for(s.limits[s.of[r, c.MODEL_OF]], tokens)
    _append(s.prefixes[r, 0], s.prefixes[r, 1], s.counts[c.GROUPS], user)


@compiled
def _drop(s, r, user):
    tokens = np.int64(s.contexts[r, user, c.KEPT_TOKENS])
    s.of[r, c.CONTEXT_PAGES] -= pages_for(s.limits[s.of[r, c.MODEL_OF]], tokens)
    _unlink(s.prefixes[r, 0], s.prefixes[r, 1], user)


@compiled
def _append(before, after, anchor, group):
    if after[anchor] < 0:
        after[anchor] = before[anchor] = anchor
    newest = before[anchor]
    after[newest], before[group] = group, newest
    after[group], before[anchor] = anchor, group


@compiled
def _unlink(before, after, group):
    after[before[group]] = after[group]
    before[after[group]] = before[group]
    after[group] = -1
