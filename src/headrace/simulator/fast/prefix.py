"""The prefixes that a replica keeps: a list in order of use, over arrays."""

from __future__ import annotations

from headrace.simulator.fast import columns as c
from headrace.simulator.fast.compiling import compiled


@compiled
def find_prefix(s, r, group):
    """Whether the replica has it; it has it now, and it is the last that would go."""
    before, after = s.prefixes[r, 0], s.prefixes[r, 1]
    anchor = s.counts[c.GROUPS]
    if after[anchor] < 0:
        after[anchor] = before[anchor] = anchor
    found = after[group] >= 0
    if found:
        _unlink(before, after, group)
    else:
        s.of[r, c.PREFIX_COUNT] += 1
    newest = before[anchor]
    after[newest], before[group] = group, newest
    after[group], before[anchor] = anchor, group
    most = s.counts[c.CACHED_GROUPS]
    if most > 0 and s.of[r, c.PREFIX_COUNT] > most:
        oldest = after[anchor]
        _unlink(before, after, oldest)
        after[oldest] = -1
        s.of[r, c.PREFIX_COUNT] -= 1
    return found


@compiled
def _unlink(before, after, group):
    after[before[group]] = after[group]
    before[after[group]] = before[group]
