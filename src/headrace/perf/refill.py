"""When requests come beside the steps of a replica, and how many of them in one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Refill:
    """How requests follow those that end at one replica.

    Requests end by chance (Poisson). A refill of so many `together` is due at every so many ends.
    """

    together: int = 1
    dealt_over: int = 1
    """Replicas over which a gateway deals out what comes at a time: it does not come when a step
    of this replica ends then, and is more than this one's share or less, by chance."""
    any_time: bool = False
    """Requests come at a rate of their own, at any moment of a step (Poisson): an open loop."""

    @property
    def size(self) -> int:
        """Its share at one replica."""
        return max(1, round(self.together / self.dealt_over))

    def chance(self, count: int, ended: float) -> float:
        """The probability that a step begins with so many shares, where `ended` end in one.

        The last may be `size` ends ago or fewer: so many are due after as many ends as make them,
        and less often after some more or fewer.
        """
        if self.size == 1:
            return _poisson(count, ended)  # the same, and a search asks thousands of times
        first, beyond = max(0, (count - 1) * self.size + 1), (count + 1) * self.size
        return sum(
            (1 - abs(n - count * self.size) / self.size) * _poisson(n, ended)
            for n in range(first, beyond)
        )

    def around_one(self, ended: float) -> tuple[float, float, float]:
        """Of a step that has this share: the probabilities of one and of two, and their mean.

        A step with several is the step of each of them.
        """
        if self.size == 1:
            return _poisson(0, ended), _poisson(1, ended), 1 + ended
        most = max(2, math.ceil((ended + 10 * math.sqrt(ended)) / self.size) + 1)
        chances = [count * self.chance(count, ended) for count in range(1, most + 1)]
        if not sum(chances):
            return 1.0, 0.0, 1.0
        mean = sum(count * chance for count, chance in enumerate(chances, start=1))
        return chances[0] / sum(chances), chances[1] / sum(chances), mean / sum(chances)

    def prompts_dealt(self, ended: float) -> float:
        """Mean prompts in the step of one that a gateway dealt out, its own among them.

        All others of its refill and of those in the same step may come here as well as elsewhere.
        """
        _, _, refills = Refill(self.together).around_one(ended * self.dealt_over)
        return 1 + (refills * self.together - 1) / self.dealt_over

    def due_before(self, steps: int, ended: float) -> float:
        """The probability that another share was due just so many steps before this one.

        Refills of several keep a distance, since it takes so many ends from one to the next. This
        one became due in the middle of its own step, on average.
        """
        later = (steps - 0.5) * ended
        most = math.ceil(later + 10 * math.sqrt(later)) + self.size
        fewer = list(accumulate(_poisson(n, ended) for n in range(self.size)))
        return sum(
            _poisson(n, later) * max(0.0, 1 - fewer[-1 - n % self.size]) for n in range(most)
        )


ALONE = Refill()
"""Each that ends is followed at once."""
OPEN = Refill(any_time=True)
"""Nobody waits for an end."""


def _poisson(count: int, mean: float) -> float:
    """By logarithms: hundreds may end in a step."""
    return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1)) if mean else 0.0**count
