"""What is asked of a fleet: how many requests are sent when, and how long they are. Seeded."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.loadgen.schedule import refill_sizes, spread_lengths
from headrace.simulator.chance import hashed
from headrace.simulator.requests import Requests, blank
from headrace.spec.lengths import AnyLengths, Fixed, as_lengths

FIRST_LENGTHS, SECOND_LENGTHS, GROUPS, ARRIVALS, TURNS = range(5)
"""Streams of chance; each column has its own, so that blocks of any size give the same rows."""
FIRST_TALK = 0x165667B1


@dataclass(frozen=True)
class Shape:
    """Lengths of requests, and what their prompts have in common."""

    input_tokens: int | AnyLengths
    output_tokens: int | AnyLengths
    prefix_groups: int = 0
    prefix_share: float = 0.0
    """Share of the prompt that all requests of a group have in common."""


@dataclass(frozen=True)
class Talk:
    """Users in conversation: each turn sends all that was said before, and something new."""

    turns: int | AnyLengths
    think_s: float = 0.0
    """From an answer's end to the next turn."""
    shared_tokens: int = 0
    """What every conversation begins with. It is in every replica's cache from the start."""

    def first_turns(self, user: int, turns: int) -> int:
        """Of a user's first conversation: spread over 1 to its turns, or all would be in step."""
        return 1 + ((hashed(FIRST_TALK, FIRST_TALK, user) * turns) >> 32)


@dataclass(frozen=True)
class Closed:
    """A held number of requests in flight, as the load generator holds them.

    The first wave has lengths spread over 1..output_tokens and is ramped: only `ramp` of it wait
    for their first token at a time. `together` sends all at once, at full length.
    """

    concurrency: int
    together: bool = False
    requests: int = 0
    """After so many in all, places stay empty; 0: the load goes on without end."""
    ramp_share: float = 0.05
    ramp_least: int = 8
    talk: Talk | None = None
    """Each place is a user, who has no request in flight while thinking."""
    refill: int = 1
    """So many free places are taken again together, in all; servers share them."""

    def pools(self, servers: int) -> list[int]:
        """How many of the places at each server are taken again together."""
        return refill_sizes(self.concurrency, self.refill, servers)

    @property
    def at_once(self) -> int:
        """Requests of the first wave that are sent at time 0."""
        if self.together:
            return self.concurrency
        return min(self.concurrency, max(self.ramp_least, int(self.concurrency * self.ramp_share)))


@dataclass(frozen=True)
class Open:
    """Arrivals at a rate: Poisson, or in bursts (`variation` is the gaps' deviation over mean)."""

    rate: float
    variation: float = 1.0


@dataclass(frozen=True)
class Curve:
    """Poisson arrivals whose rate follows straight lines between points of time."""

    times_s: tuple[float, ...]
    rates: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Trace:
    """Recorded requests: times from 0, ascending, and their lengths."""

    sent_s: NDArray[np.float64]
    input_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]


Arrivals = Closed | Open | Curve | Trace


@dataclass
class Workload:
    """A load. `requests` gives all of an open loop, `block` the next rows of a closed one."""

    arrivals: Arrivals
    shape: Shape
    seed: int = 0
    _random: list[np.random.Generator] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin again: the same rows once more."""
        self._random = [np.random.default_rng([self.seed, 17, stream]) for stream in range(5)]

    @property
    def closed(self) -> Closed | None:
        """The closed loop, if it is one."""
        return self.arrivals if isinstance(self.arrivals, Closed) else None

    def requests(self, duration_s: float, expected: int = 0) -> Requests:
        """The table to simulate with. `expected` rows are made for a closed loop at first."""
        self.reset()
        arrivals = self.arrivals
        if isinstance(arrivals, Closed):
            return self.block(max(expected, 2 * arrivals.concurrency))
        if isinstance(arrivals, Trace):
            within = arrivals.sent_s <= duration_s
            return blank(
                arrivals.input_tokens[within].astype(np.int32),
                arrivals.output_tokens[within].astype(np.int32),
                sent_s=arrivals.sent_s[within].astype(float),
            )
        return self.block(sent_s=self._arrival_times(arrivals, duration_s))

    def block(self, count: int = 0, sent_s: NDArray[np.float64] | None = None) -> Requests:
        """The next rows."""
        count = count if sent_s is None else len(sent_s)
        shape = self.shape
        prompts = self._lengths(shape.input_tokens, count, FIRST_LENGTHS)
        grouped = shape.prefix_groups > 0
        draws = self._random[GROUPS].random(count) if grouped else None
        talk = self.closed.talk if self.closed else None
        return blank(
            prompts,
            self._lengths(shape.output_tokens, count, SECOND_LENGTHS),
            sent_s=sent_s,
            group=None if draws is None else (draws * shape.prefix_groups).astype(np.int32),
            prefix_tokens=(prompts * shape.prefix_share).astype(np.int32) if grouped else None,
            turns=self._lengths(talk.turns, count, TURNS) if talk else None,
            closed=sent_s is None,
        )

    def warm_lengths(self) -> NDArray[np.int32]:
        """Output tokens of a closed loop's first wave, one for every place."""
        closed = self.closed
        assert closed is not None
        if closed.together:
            return np.zeros(closed.concurrency, np.int32)
        table = as_lengths(self.shape.output_tokens).table()
        return np.array(spread_lengths(table, closed.concurrency, self.seed), np.int32)

    def _lengths(self, asked: int | AnyLengths, count: int, stream: int) -> NDArray[np.int32]:
        lengths = as_lengths(asked)
        if isinstance(lengths, Fixed):
            return np.full(count, lengths.tokens, np.int32)
        table = np.array(lengths.table(), np.int32)
        return table[(self._random[stream].random(count) * len(table)).astype(np.int64)]

    def _arrival_times(self, arrivals: Open | Curve, duration_s: float) -> NDArray[np.float64]:
        random = self._random[ARRIVALS]
        if isinstance(arrivals, Open):
            shape = 1 / arrivals.variation**2
            return _until(duration_s * arrivals.rate, random, shape) / arrivals.rate
        times, rates = np.array(arrivals.times_s), np.array(arrivals.rates)
        return _warped(times, rates, random, duration_s)


def _until(total: float, random: np.random.Generator, shape: float) -> NDArray[np.float64]:
    """Points at a mean distance of 1 from 0 to `total`; the gaps are gamma-distributed."""
    parts, last = [], 0.0
    while last < total:
        count = int((total - last) * 1.01) + 100
        gaps = random.exponential(1, count) if shape == 1 else random.gamma(shape, 1 / shape, count)
        gaps[0] += last
        parts.append(np.cumsum(gaps, out=gaps))
        last = float(gaps[-1])
    points = np.concatenate(parts)
    return points[: np.searchsorted(points, total, "right")]


def _warped(
    times: NDArray[np.float64],
    rates: NDArray[np.float64],
    random: np.random.Generator,
    duration_s: float,
) -> NDArray[np.float64]:
    """Arrivals of a changing rate: those of a constant one, on a clock that its integral drives."""
    fine = np.linspace(0.0, duration_s, max(2, 64 * len(times)))
    rate = np.interp(fine, times, rates)
    total = np.concatenate([[0.0], np.cumsum(np.diff(fine) * (rate[1:] + rate[:-1]) / 2)])
    return np.interp(_until(float(total[-1]), random, 1.0), total, fine)
