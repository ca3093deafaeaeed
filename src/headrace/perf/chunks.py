"""Prompts that queue for what decoding leaves of the token budget, one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

EVEN = 0.5
"""Variability of arrivals in a closed loop of like requests, where by chance it is 1: who had to
queue keeps that distance and comes back with it. Where prompts use up the budget nearly all queue,
and hardly any chance is left; both as the scheduler in virtual time has it."""


@dataclass(frozen=True)
class Chunks:
    """A mean prompt in steps with so much room for prompts: a queue with one server.

    A long prompt alone takes whole steps, and the last of them is not full. One with another behind
    it shares that step: of prompts as many as the share of steps that are busy with prompts.
    Prompts that a step has room for share it with all that come.
    """

    size: float
    """Steps' room that it fills."""
    variation: float = 0.0
    """Squared coefficient of variation of its length."""

    @property
    def alone(self) -> float:
        """Steps of a prompt with nobody behind; where lengths vary, half of the last is empty."""
        if self.size <= 1:
            return self.size
        return self.size + 0.5 if self.variation else float(math.ceil(self.size))

    def busy(self, started: float) -> float:
        """Share of steps with a prompt, where so many prompts start in one on average."""
        return min(1.0, started * self.alone / (1 + started * (self.alone - self.size)))

    def taken(self, busy: float) -> float:
        """Steps that a prompt takes for itself, at that share."""
        return self.alone - busy * (self.alone - self.size)

    def queue(self, started: float, requests: float = math.inf) -> float:
        """Steps' room that is asked for before a prompt's own, once the step is over in which it
        came; on average.

        The mean of Lindley's recursion, by its second moment: each step takes its room from what is
        left, and so many prompts come. In a closed loop one of so many `requests` meets the others
        alone (Bard's and Schweitzer's approximation), and comes back more evenly than by chance.
        """
        met = min(started * (1 - 1 / requests), (1 - 1e-9) / self.size)
        used = met * self.size
        by_chance = self.variation or requests == math.inf
        arrivals = 1.0 if by_chance else EVEN * (1 - used**4)
        varies = met * self.size**2 * (arrivals + self.variation)
        left = (1 - self._unused_squared(met) + varies - used**2) / 2 / (1 - used)
        return max(0.0, left - used + arrivals * used / 2)

    def _unused_squared(self, started: float) -> float:
        """Mean square of what a step leaves of its room."""
        if self.size <= 1:
            return 1 - started * self.size
        last = self.size - (self.alone - 1)
        return (1 - self.busy(started)) * (1 + started * (1 - last) ** 2)


def tail(busy: float) -> float:
    """How many times as long as the mean the queue is of one in a hundred.

    Nobody queues but those who come while prompts are computed, and they wait exponentially.
    """
    return max(0.0, math.log(100 * busy)) / busy
