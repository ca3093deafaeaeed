"""The simulated engine's replicas in virtual time: their own code, on a clock that jumps."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from headrace.engines.simulated.answer import Answer
from headrace.engines.simulated.generation import Generation, Served
from headrace.engines.simulated.replica import Replica
from headrace.engines.simulated.text import Tokenizer
from headrace.perf.replica import ReplicaModel
from headrace.scheduler.scheduler import Scheduler
from headrace.simulator.chance import CountedAcceptance, keys
from headrace.simulator.replica import ACCEPTANCE_KEYS

SERVED = Served("m", 10**6, Tokenizer(1000), 0)
Hear = Callable[[bool], None]
"""Called with each of a request's chunks when it is at the client; whether it is the last."""


class VirtualLoop:
    """What a replica asks of an event loop, and no more."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._planned = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self._now_s

    def call_at(self, at_s: float, call: Callable[..., None], *arguments: Any) -> object:
        self._planned += 1
        heapq.heappush(self._heap, (at_s, self._planned, call, arguments))
        return self

    @property
    def next_s(self) -> float:
        return self._heap[0][0] if self._heap else math.inf

    def step(self) -> None:
        self._now_s, _, call, arguments = heapq.heappop(self._heap)
        call(*arguments)


class Heard(Answer):
    """Tells the client of its chunks."""

    def __init__(self, generation: Generation, hear: Hear) -> None:
        super().__init__(SimpleNamespace(), generation, SERVED, 0)
        self.hear = hear

    def advance(self, generated: int, finished: bool) -> None:
        self.hear(finished)


class VirtualEngine:
    """Replicas behind a network of `delay_s` each way.

    Acceptance is drawn as the simulator draws it, which is all that tells the two apart.
    """

    def __init__(self, model: ReplicaModel, replicas: int, delay_s: float, seed: int) -> None:
        self.loop, self.delay_s = VirtualLoop(), delay_s
        self.replicas = [Replica(model, 10**6, 0, self.loop) for _ in range(replicas)]
        spec = model.scheduler
        for replica, pair in zip(
            self.replicas, keys(seed, ACCEPTANCE_KEYS, replicas).tolist(), strict=True
        ):
            chance = CountedAcceptance(spec.mtp_depth, spec.acceptance, *pair)
            replica.scheduler = Scheduler(spec, acceptance=chance)

    def ask(self, replica: int, input_tokens: int, output_tokens: int, hear: Hear) -> None:
        """A client sends a request, now."""

        def chunk(finished: bool) -> None:
            self.loop.call_at(self.loop.time() + self.delay_s, hear, finished)

        answer = Heard(Generation("completion", input_tokens, output_tokens), chunk)
        arrives_s = self.loop.time() + self.delay_s
        self.loop.call_at(arrives_s, self.replicas[replica].submit, answer)
