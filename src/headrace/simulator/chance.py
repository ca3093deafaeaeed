"""Random numbers by counting: the same draw for the same key and number, in any order, anywhere.

A stream is a key; its n-th draw is a hash of both (the finalizer of MurmurHash3 with a second key
folded in). The quick core computes the same hash in vector registers, so that it and the reference
implementation see the same chances.
"""

from __future__ import annotations

import numpy as np

from headrace.scheduler.acceptance import Acceptance

MASK = 0xFFFFFFFF
WEYL = 0x9E3779B9
FIRST = 0x85EBCA6B
SECOND = 0xC2B2AE35


def hashed(key: int, other: int, number: int) -> int:
    """The draw of that number: uniform over 32 bits."""
    x = (key + number * WEYL) & MASK
    x = ((x ^ (x >> 16)) * FIRST) & MASK
    x ^= other
    x = ((x ^ (x >> 13)) * SECOND) & MASK
    return x ^ (x >> 16)


def keys(seed: int, kind: int, count: int) -> np.ndarray:
    """Two keys (as int64) for each of `count` streams of one kind."""
    return np.random.default_rng([seed, kind]).integers(0, 2**32, (count, 2), dtype=np.int64)


def thresholds(depth: int, acceptance: float) -> list[int]:
    """A draw below the j-th of these accepts at least j drafted tokens."""
    return [int(min(1.0, max(0.0, acceptance)) ** j * 2**32) for j in range(1, depth + 1)]


class CountedAcceptance(Acceptance):
    """Accepted drafts from a counted stream, for the scheduler."""

    def __init__(self, depth: int, acceptance: float, key: int, other: int) -> None:
        super().__init__(depth, acceptance, 0)
        self._thresholds = thresholds(depth, acceptance)
        self._keys = key, other
        self._count = 0

    def draw(self, count: int) -> list[int]:
        """`count` numbers from 0 to the draft depth."""
        if not self._thresholds:
            return [0] * count
        first, self._count = self._count, self._count + count
        draws = (hashed(*self._keys, number) for number in range(first, first + count))
        return [sum(x < limit for limit in self._thresholds) for x in draws]
