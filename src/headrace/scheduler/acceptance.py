"""How many drafted tokens a verification accepts, by chance, reproducibly."""

from __future__ import annotations

import numpy as np

DRAWN_AT_ONCE = 8192


class Acceptance:
    """Draws of accepted drafts: each is accepted with the same probability until one is not.

    Drawn in blocks, since a call to numpy costs more than most steps need.
    """

    def __init__(self, depth: int, probability: float, seed: int) -> None:
        self._depth = depth
        self._probability = probability
        self._random = np.random.default_rng(seed)
        self._drawn: list[int] = []
        self._next = 0

    def draw(self, count: int) -> list[int]:
        """`count` numbers from 0 to the draft depth."""
        if self._depth == 0 or self._probability <= 0.0:
            return [0] * count
        if self._probability >= 1.0:
            return [self._depth] * count
        if self._next + count > len(self._drawn):
            self._refill(count)
        first = self._next
        self._next = first + count
        return self._drawn[first : first + count]

    def _refill(self, count: int) -> None:
        size = max(DRAWN_AT_ONCE, count)
        until_rejected = self._random.geometric(1.0 - self._probability, size)
        self._drawn = np.minimum(until_rejected - 1, self._depth).tolist()
        self._next = 0
