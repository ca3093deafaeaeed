"""The simulated engine's replicas in virtual time: their own code, on a clock that jumps."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from headrace.engines.simulated.answer import Answer
from headrace.engines.simulated.generation import Generation, Served
from headrace.engines.simulated.replica import Replica
from headrace.engines.simulated.text import Tokenizer
from headrace.perf.replica import ReplicaModel
from headrace.scheduler.scheduler import Scheduler
from headrace.simulator.chance import CountedAcceptance, keys
from headrace.simulator.replica import ACCEPTANCE_KEYS
from headrace.simulator.requests import DONE, Requests

SERVED = Served("m", 10**6, Tokenizer(1000), 0)


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

    def run(self, until_s: float) -> None:
        while self._heap and self._heap[0][0] <= until_s:
            self._now_s, _, call, arguments = heapq.heappop(self._heap)
            call(*arguments)


class Timed(Answer):
    """Tells when its first and its last token came."""

    def __init__(self, request: int, generation: Generation, fleet: VirtualEngine) -> None:
        super().__init__(SimpleNamespace(), generation, SERVED, 0)
        self.request, self.fleet = request, fleet

    def advance(self, generated: int, finished: bool) -> None:
        self.fleet.received(self, finished)


class VirtualEngine:
    """Replicas behind a network of `delay_s` each way, asked in turn by place of the closed loop.

    Acceptance is drawn as the simulator draws it, which is all that tells the two apart.
    """

    def __init__(
        self, model: ReplicaModel, replicas: int, requests: Requests, delay_s: float, seed: int
    ) -> None:
        self.loop, self.requests, self.delay_s = VirtualLoop(), requests, delay_s
        self.replicas = [Replica(model, 10**6, 0, self.loop) for _ in range(replicas)]
        spec = model.scheduler
        for replica, pair in zip(
            self.replicas, keys(seed, ACCEPTANCE_KEYS, replicas).tolist(), strict=True
        ):
            chance = CountedAcceptance(spec.mtp_depth, spec.acceptance, *pair)
            replica.scheduler = Scheduler(spec, acceptance=chance)

    def run(self, until_s: float, concurrency: int = 0) -> None:
        """A closed loop of so many places, or at the times in the table."""
        for lane in range(concurrency):
            self.loop.call_at(0.0, self._send, lane)
        if not concurrency:
            for number, at_s in enumerate(self.requests.sent_s.tolist()):
                self.loop.call_at(at_s, self._send, number)
        self.closed = concurrency > 0
        self.loop.run(until_s)

    def _send(self, lane: int) -> None:
        number, now_s = self.requests.sent, self.loop.time()
        if number == self.requests.capacity:
            return
        self.requests.sent += 1
        self.requests.sent_s[number] = now_s
        self.requests.replica[number] = lane % len(self.replicas)
        if self.closed:
            self.requests.lane[number] = lane
        self.loop.call_at(now_s + self.delay_s, self._deliver, number)

    def _deliver(self, number: int) -> None:
        tokens = int(self.requests.input_tokens[number]), int(self.requests.output_tokens[number])
        answer = Timed(number, Generation("completion", *tokens), self)
        self.replicas[int(self.requests.replica[number])].submit(answer)

    def received(self, answer: Timed, finished: bool) -> None:
        at_s = self.loop.time() + self.delay_s
        if np.isnan(self.requests.first_s[answer.request]):
            self.requests.first_s[answer.request] = at_s
        if finished:
            self.requests.done_s[answer.request] = at_s
            self.requests.status[answer.request] = DONE
            if self.closed:
                lane = int(self.requests.lane[answer.request])
                self.loop.call_at(at_s, self._send, lane)
