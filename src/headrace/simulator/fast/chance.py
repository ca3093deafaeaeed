"""The draws of `simulator.chance`, compiled."""

from __future__ import annotations

import numpy as np

from headrace.simulator.fast.compiling import compiled

FIRST = np.uint32(0x85EBCA6B)
SECOND = np.uint32(0xC2B2AE35)
WEYL = np.uint32(0x9E3779B9)


@compiled
def hashed(key, other, number):
    """As `simulator.chance.hashed`; 32-bit throughout, so that it runs in vector registers."""
    x = np.uint32(np.uint32(key) + np.uint32(np.uint32(number) * WEYL))
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(16))) * FIRST)
    x = np.uint32(x ^ np.uint32(other))
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(13))) * SECOND)
    return np.uint32(x ^ (x >> np.uint32(16)))


@compiled
def below(key, other, number, count):
    """A whole number from 0 to count - 1."""
    return (np.int64(hashed(key, other, number)) * count) >> 32
