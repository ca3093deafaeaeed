"""One simulated replica: a scheduler driven by a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from headrace.engines.simulated.answer import Answer
from headrace.engines.simulated.clock import StepClock
from headrace.engines.simulated.metrics import ReplicaMetrics
from headrace.perf.replica import ReplicaModel
from headrace.scheduler.scheduler import Scheduler
from headrace.scheduler.sequence import Sequence
from headrace.scheduler.step import Step


class Clock(Protocol):
    """What time it is, and calls when it is later (see `Timers`)."""

    def time(self) -> float:
        """Now, in seconds."""

    def call_at(self, at_s: float, call: Callable[..., object], *arguments: Any) -> object:
        """Call then."""


class Replica:
    """Runs steps while there are requests, and sleeps when there are none."""

    def __init__(
        self,
        model: ReplicaModel,
        max_model_len: int,
        seed: int,
        timers: Clock,
    ) -> None:
        self.model = model
        self.scheduler = Scheduler(model.scheduler, seed)
        self.metrics = ReplicaMetrics(max_model_len)
        self.clock = StepClock()
        self.timers = timers
        self._awake = False
        self._last_end_s = 0.0

    def rejection(self, prompt_tokens: int, output_tokens: int) -> str | None:
        """Why such a request could never finish, or None."""
        return self.scheduler.rejection(Sequence(prompt_tokens, output_tokens))

    def submit(self, answer: Answer) -> Sequence:
        """Queue a request. A sleeping replica begins its first step at once."""
        now_s = self.timers.time()
        answer.arrived_s = now_s
        generation = answer.generation
        sequence = Sequence(generation.prompt_tokens, generation.output_tokens, answer)
        self.scheduler.add(sequence)
        if not self._awake:
            self.clock.start(now_s)
            self._begin(now_s)
        return sequence

    def abort(self, sequence: Sequence) -> None:
        """The client has gone."""
        if not sequence.finished and not sequence.aborted:
            self.scheduler.abort(sequence)
            self.metrics.finished["abort"] += 1

    def _begin(self, now_s: float) -> None:
        step = self.scheduler.schedule()
        self._awake = step is not None
        if step is None:
            return
        for sequence, _ in step.prefills:
            answer: Answer = sequence.payload
            answer.scheduled_s = answer.scheduled_s or now_s
        end_s = self.clock.begin(step.length_s(self.model.step))
        self.timers.call_at(end_s, self._end, step)

    def _end(self, step: Step) -> None:
        now_s = self.timers.time()
        self.clock.end(now_s)
        self.metrics.step_tokens.observe(step.tokens)
        self._hand_out(self.scheduler.finish(step), now_s)
        self._last_end_s = now_s
        self._begin(now_s)

    def _hand_out(self, sequences: list[Sequence], now_s: float) -> None:
        """Give every sequence's new tokens to its answer. The hot loop.

        Nearly all had their last tokens at the end of the last step, so that one number is the
        gap of all of these.
        """
        last_end_s = self._last_end_s
        gap_s = now_s - last_end_s
        together = 0
        for sequence in sequences:
            answer: Answer = sequence.payload
            if answer.last_s == last_end_s:
                together += 1
            else:
                self._note_gap(answer, now_s)
            answer.last_s = now_s
            if sequence.finished:
                self._note_end(sequence, answer, now_s)
            answer.advance(sequence.length - sequence.prompt_tokens, sequence.finished)
        if together:
            self.metrics.between_tokens.observe(gap_s, together)

    def _note_gap(self, answer: Answer, now_s: float) -> None:
        """A first token, or one after a pause (preemption, or no room in the token budget)."""
        if answer.first_s:
            self.metrics.between_tokens.observe(now_s - answer.last_s)
            return
        answer.first_s = now_s
        self.metrics.first_token.observe(now_s - answer.arrived_s)

    def _note_end(self, sequence: Sequence, answer: Answer, now_s: float) -> None:
        metrics = self.metrics
        metrics.finished["length"] += 1
        metrics.prompt_lengths.observe(sequence.prompt_tokens)
        metrics.output_lengths.observe(sequence.generated)
        metrics.end_to_end.observe(now_s - answer.arrived_s)
        metrics.queue.observe(answer.scheduled_s - answer.arrived_s)
        metrics.prefill.observe(answer.first_s - answer.scheduled_s)
        metrics.decode.observe(now_s - answer.first_s)
        metrics.inference.observe(now_s - answer.scheduled_s)
        if sequence.generated > 1:
            per_token_s = (now_s - answer.first_s) / (sequence.generated - 1)
            metrics.per_output_token.observe(per_token_s)
