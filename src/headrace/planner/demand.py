"""The requests of a workload, sampled evenly: what a plan knows of distributions. Pure.

The sample is the same in every plan: each distribution's quantiles, evenly spaced, dealt out in a
fixed order. Means are therefore exact, and two candidates are judged on the same requests.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from headrace.errors import InputError
from headrace.perf.steady import Load
from headrace.planner.bounds import Bounds
from headrace.scheduler.spec import CacheSpec
from headrace.spec.lengths import AnyLengths, Fixed, as_lengths
from headrace.spec.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.planner.latency import Serving

Floats = npt.NDArray[np.float64]
T = TypeVar("T")

SAMPLE = 1024
"""Requests; a p99 is then the tenth from the top."""
SURE = 2.33
"""Standard deviations that a cache keeps free above its mean use: 99 % of the time it suffices."""


@dataclass(frozen=True)
class Request:
    """One request of the sample, in tokens."""

    prompt: int
    known: int
    """Of the prompt, what its conversation (or everyone's) has sent or been answered before."""
    output: int

    @property
    def context(self) -> int:
        """What it holds in the cache at its end."""
        return self.prompt + self.output


@dataclass(frozen=True)
class MixedLoad(Load):
    """Means of requests of many lengths, as a batch meets them: long ones more often."""

    context_tokens: float = 0.0
    attended: float = 0.0
    variation: float = 0.0

    @property
    def mean_context_tokens(self) -> float:
        """Over all decoding steps, not over all requests."""
        return self.context_tokens

    @property
    def attended_tokens(self) -> float:
        """Over all computed tokens."""
        return self.attended

    @property
    def prompt_variation(self) -> float:
        """Of what is computed, not of what is sent."""
        return self.variation


class Demand:
    """What a workload asks for, as a sample of its requests."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.requests = _sample(workload)
        self.longest_tokens = workload.longest_tokens
        count = len(self.requests)
        self.input_tokens = sum(r.prompt for r in self.requests) / count
        self.output_tokens = sum(r.output for r in self.requests) / count
        self._chances: dict[str, Floats] = {}
        self._held: dict[tuple[int, int, int], tuple[float, float]] = {}

    @property
    def tokens(self) -> float:
        """Input and output tokens of a mean request."""
        return self.input_tokens + self.output_tokens

    @property
    def request_s(self) -> float | None:
        """The rate at which requests arrive, where the workload states one."""
        if self.workload.token_rate is not None:
            return self.workload.token_rate / self.tokens
        return self.workload.request_rate

    @property
    def fixed(self) -> bool:
        """All requests are alike."""
        return len(self.requests) == 1

    def sequences(self, cache: CacheSpec, *, shared: bool) -> int:
        """Requests that the cache holds at once, 99 % of the time where their lengths vary.

        `shared`: the tokens that all conversations begin with are held once.
        """
        if self.fixed:
            return max(0, cache.pages // cache.pages_for(self.requests[0].context))
        common = self._common_pages(cache) if shared else 0
        mean, deviation = self._pages(cache)
        mean -= common
        pages = cache.pages - common
        if pages < mean + SURE * deviation:
            return 0
        root = (
            (-SURE * deviation + math.sqrt((SURE * deviation) ** 2 + 4 * mean * pages)) / 2 / mean
        )
        return int(root**2)

    def _common_pages(self, cache: CacheSpec) -> int:
        """Pages of what all conversations begin with."""
        talk = self.workload.conversation
        return talk.shared_tokens // cache.page_tokens * cache.token_groups if talk else 0

    def _pages(self, cache: CacheSpec) -> tuple[float, float]:
        """Mean and deviation of the pages that a request in the batch comes to hold.

        Long answers stay long, so they are met more often than they are sent.
        """
        key = (cache.page_tokens, cache.token_groups, cache.state_pages)
        if key not in self._held:
            self._held[key] = _moments(
                [(cache.pages_for(r.context), r.output) for r in self.requests]
            )
        return self._held[key]

    @property
    def hits_follow(self) -> bool:
        """What the prefix cache finds is a consequence of what was sent before, and of room."""
        return self.workload.conversation is not None or self.workload.reuses_prefixes_of_trace

    def kept(
        self, cache: CacheSpec, serving: Serving, running: float, replicas: int, at_home: float
    ) -> float:
        """Share of those prompts that follow another whose pages are still there.

        What the running requests leave of the cache is overwritten at the pace of new pages, the
        least recently used first. Pauses between turns are taken as exponential around the think
        time; a trace says what was written between its requests, here by so many `replicas`.
        `at_home` is the share that comes to the replica which has its pages.
        """
        load, steady = serving.load, serving.steady
        mean, _ = self._pages(cache)
        spare = max(0.0, cache.pages - self._common_pages(cache) - running * mean)
        new = load.computed_input_tokens + load.output_tokens
        written = new / cache.page_tokens * cache.token_groups + cache.state_pages
        lasting = spare / written
        talk = self.workload.conversation
        if talk is None:
            return at_home * float(self._younger(lasting * new * replicas))
        pause_s = talk.think_time_s + steady.queue_s
        return at_home * (1 - math.exp(-lasting / steady.request_s / pause_s) if pause_s else 1.0)

    def _younger(self, tokens: float) -> float:
        """Share of a trace's following prompts whose pages are no older."""
        return float(np.searchsorted(self._ages, tokens, side="right")) / max(1, len(self._ages))

    @cached_property
    def _ages(self) -> Floats:
        """Of a trace's prompts that follow another one, ascending."""
        traced = self.workload.traced
        assert traced is not None
        follows = zip(traced.ages, traced.known, strict=True)
        return np.sort(np.array([age for age, known in follows if known], float))

    @cached_property
    def no_hits(self) -> Floats:
        """Nothing is cached."""
        return np.zeros(len(self.requests))

    def hits(self, page_tokens: int, kept: float) -> Floats:
        """Cached tokens of every request's prompt; whole pages are found, a stated rate is taken.

        `kept` is the share of following prompts whose pages are still there.
        """
        if not self.hits_follow:
            return self.prompts * self.workload.prefix_hit_rate
        common = self._common // page_tokens * page_tokens
        whole: Floats = np.minimum(self._known, self.prompts - 1) // page_tokens * page_tokens
        return kept * whole + (1 - kept) * np.minimum(common, whole)

    def load(self, found: Floats, acceptance: float, mtp_depth: int) -> Load:
        """The workload as one replica sees it, `found` tokens of each prompt being cached."""
        prompts, outputs = self.prompts, self.outputs
        hit_rate = float(found.sum() / prompts.sum())
        if self.fixed:
            only = self.requests[0]
            return Load(only.prompt, only.output, hit_rate, acceptance, mtp_depth)
        computed = np.maximum(1.0, prompts - found)
        decoded, mean = outputs.sum(), computed.mean()
        return MixedLoad(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            prefix_hit_rate=hit_rate,
            acceptance=acceptance,
            mtp_depth=mtp_depth,
            context_tokens=float((outputs * (prompts + outputs / 2)).sum() / decoded),
            attended=float((computed * (prompts - computed / 2)).sum() / computed.sum()),
            variation=float((computed**2).mean() / mean**2 - 1),
        )

    @cached_property
    def prompts(self) -> Floats:
        """Prompt tokens of every request."""
        return np.array([r.prompt for r in self.requests], float)

    @cached_property
    def outputs(self) -> Floats:
        """Output tokens of every request."""
        return np.array([r.output for r in self.requests], float)

    @cached_property
    def _known(self) -> Floats:
        return np.array([r.known for r in self.requests], float)

    @cached_property
    def _common(self) -> Floats:
        """Of these, what any replica has at any time."""
        if self.workload.traced is not None:
            return np.array(self.workload.traced.common, float)
        talk = self.workload.conversation
        return np.full(len(self.requests), float(talk.shared_tokens if talk else 0))

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """In which the sample's requests arrive, twice; turns of a conversation lie apart."""
        return np.tile(_shuffled(list(range(len(self.requests))), "order"), 2)

    @cached_property
    def arrivals(self) -> Floats:
        """When they do, one in a unit of time on average, by chance (Poisson).

        What is close behind a request the first time is far behind it the second time, so that
        rare events count about as often as they are to be expected (antithetic variates).
        """
        shares = self.chance("gaps")
        return np.cumsum(-np.log(np.concatenate([shares, 1 - shares])))

    @cached_property
    def tpot_deviates(self) -> Floats:
        """By how many deviations each request's TPOT differs; short answers by more."""
        wide: Floats = np.sqrt(self.output_tokens / self.outputs)
        return wide * self.normal("next")

    @cached_property
    def tpot_deviates_in_order(self) -> Floats:
        """Of answers that have a TPOT, ascending."""
        return np.sort(self.tpot_deviates[self.outputs > 1])

    @cached_property
    def largest_attention(self) -> float:
        """Context that all tokens of the longest prompt attend to."""
        return float(self.prompts.max()) ** 2 / 2

    @cached_property
    def bounds(self) -> Bounds:
        """What latencies surely keep below."""
        return Bounds(self)

    def chance(self, name: str) -> Floats:
        """Evenly spaced shares, one for every request, in an order of their own."""
        if name not in self._chances:
            count = len(self.requests)
            shares = _shuffled([(place + 0.5) / count for place in range(count)], name)
            self._chances[name] = np.array(shares)
        return self._chances[name]

    def normal(self, name: str) -> Floats:
        """Normal deviates at these shares."""
        key = f"{name}, normal"
        if key not in self._chances:
            deviates = [NormalDist().inv_cdf(share) for share in self.chance(name)]
            self._chances[key] = np.array(deviates)
        return self._chances[key]

    def context_percentile(self, share: float) -> int:
        """Tokens that this share of the requests do not exceed at their end."""
        ordered = sorted(r.context for r in self.requests)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _moments(weighed: list[tuple[float, float]]) -> tuple[float, float]:
    """Mean and standard deviation of values by their weights."""
    total = sum(weight for _, weight in weighed)
    mean = sum(value * weight for value, weight in weighed) / total
    variance = sum(weight * (value - mean) ** 2 for value, weight in weighed) / total
    return mean, math.sqrt(variance)


def _sample(workload: Workload) -> list[Request]:
    if workload.trace is not None:
        return _of_trace(workload)
    inputs, outputs = workload.inputs, workload.outputs
    talk = workload.conversation
    if talk is None:
        if isinstance(inputs, Fixed) and isinstance(outputs, Fixed):
            return [Request(inputs.tokens, 0, outputs.tokens)]
        lengths = zip(_dealt(inputs, SAMPLE, "in"), _dealt(outputs, SAMPLE, "out"), strict=True)
        return [Request(prompt, 0, output) for prompt, output in lengths]
    turns = as_lengths(talk.turns)
    conversations = max(1, round(SAMPLE / turns.mean))
    counts = _dealt(turns, conversations, "turns")
    added, answers = (
        iter(_dealt(lengths, sum(counts), name))
        for lengths, name in ((inputs, "in"), (outputs, "out"))
    )
    return [
        request
        for count in counts
        for request in _conversation(count, talk.shared_tokens, added, answers)
    ]


def _of_trace(workload: Workload) -> list[Request]:
    traced = workload.traced
    if traced is None:
        raise InputError(
            f"workload.trace {workload.trace}: the file was not read",
            hint="name it in a fleet file, which is where it is read",
        )
    columns = zip(traced.prompts, traced.known, traced.outputs, strict=True)
    return [Request(*row) for row in columns]


def _conversation(
    turns: int, shared: int, added: Iterator[int], answers: Iterator[int]
) -> Iterator[Request]:
    """Its turns: each prompt is all that was said before and something new."""
    said = shared
    for _ in range(turns):
        prompt, output = said + next(added), next(answers)
        yield Request(prompt, said, output)
        said = prompt + output


def _dealt(lengths: AnyLengths, count: int, name: str) -> list[int]:
    return _shuffled(lengths.table(count), name)


def _shuffled(values: list[T], name: str) -> list[T]:
    random.Random(name).shuffle(values)
    return values
