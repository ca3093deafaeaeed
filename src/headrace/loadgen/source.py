"""What requests ask for, one after the other: synthetic prompts, a dataset, conversations."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace.loadgen.job import Job
from headrace.loadgen.prompts import Frame, Prefixes, Writer
from headrace.loadgen.samples import BLOCK_TOKENS, Sample, read_samples


class Ask:
    """What one request asks for.

    `output_tokens`: how many tokens the answer shall have (or may have, where the model may stop).
    `prompt_tokens`: how many tokens the prompt has; 0 where only the server can count them.
    `size`: how many tokens or words to write. `lora`: 1 + the adapter's place in the job's list, 0
    for the model itself. `turn` of `turns` of its conversation, from 0; `messages` so far.
    """

    __slots__ = (
        *("lora", "messages", "output_tokens", "prompt_tokens", "sample", "size", "source"),
        *("turn", "turns"),
    )

    def __init__(self, source: Source, lora: int, prompt_tokens: int, output_tokens: int) -> None:
        self.source = source
        self.lora = lora
        self.prompt_tokens = prompt_tokens
        self.size = prompt_tokens
        self.output_tokens = output_tokens
        self.turn = 0
        self.turns = 1
        self.sample: Sample | None = None
        self.messages: list[dict[str, Any]] | None = None

    def shorten(self, output_tokens: int) -> None:
        """Ask for a shorter answer, and for no further turn: a stream that is half over."""
        self.output_tokens = max(1, min(self.output_tokens, output_tokens))
        self.turns = self.turn + 1

    @property
    def keeps_text(self) -> bool:
        """The answer's text is needed, because the next turn repeats it."""
        return self.turn + 1 < self.turns

    def body(self) -> bytes:
        """The request body; asked for again when the request has to be sent again."""
        return self.source.body(self)


class Source(ABC):
    """Makes the asks of one worker. `at_s` of a replayed trace comes with each sample."""

    def __init__(self, job: Job) -> None:
        self.traffic = job.traffic
        self.frame = Frame(job.traffic)
        self._lora = job.index
        self._think = random.Random(f"{job.seed}/{job.index}/think")

    @abstractmethod
    def next(self) -> Ask:
        """The first request of the next conversation."""

    @abstractmethod
    def body(self, ask: Ask) -> bytes:
        """The request body of an ask."""

    @abstractmethod
    def said(self, ask: Ask, turn: int) -> str:
        """What the user says in a later turn."""

    def lora(self) -> int:
        """The adapter of the next conversation, in turn; 0 when there are none."""
        if not self.traffic.loras:
            return 0
        self._lora += 1
        return 1 + self._lora % len(self.traffic.loras)

    def follow(self, ask: Ask, answer: str) -> tuple[float, Ask] | None:
        """How long the user thinks (s), and the next turn; None when the conversation is over."""
        if not ask.keeps_text:
            return None
        messages = [*(ask.messages or []), {"role": "assistant", "content": answer}]
        turn = ask.turn + 1
        messages.append({"role": "user", "content": self.said(ask, turn)})
        later = Ask(self, ask.lora, 0, self.answer_tokens(ask, turn))
        later.turn, later.turns = turn, ask.turns
        later.sample, later.messages = ask.sample, messages
        return self._think.choice(self.traffic.think_table_ms) / 1e3, later

    @abstractmethod
    def answer_tokens(self, ask: Ask, turn: int) -> int:
        """How long the answer of a later turn shall be."""


class Synthetic(Source):
    """Random prompts of the asked lengths, with a shared beginning where asked."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        traffic = job.traffic
        self._source = random.Random(f"{job.seed}/{job.index}/lengths")
        self._writer = Writer(traffic, f"{job.seed}/{job.index}", max(traffic.input_table))
        self._prefixes = Prefixes(self._writer, traffic, job.seed)

    def next(self) -> Ask:
        """A new conversation, of one turn unless more were asked for."""
        draw, traffic = self._source.choice, self.traffic
        prompt, answer = draw(traffic.input_table), draw(traffic.output_table)
        ask = Ask(self, self.lora(), prompt, answer)
        if traffic.chat and not traffic.words:
            ask.prompt_tokens = 0
        ask.turns = draw(traffic.turns_table)
        if ask.turns > 1:
            ask.messages = [{"role": "user", "content": self._pieces(prompt)[:-1].decode()}]
        return ask

    def body(self, ask: Ask) -> bytes:
        """Written anew each time: it is asked for twice only where a connection was stale."""
        if ask.messages is not None:
            return self.frame.content(ask.lora, ask.messages, ask.output_tokens)
        return self.frame.prompt(ask.lora, self._pieces(ask.size), ask.output_tokens)

    def _pieces(self, prompt_tokens: int) -> bytes:
        count = max(1, prompt_tokens - self.traffic.overhead_tokens)
        prefix, shared = self._prefixes.shared(count)
        return prefix + self._writer.fresh(count - shared)

    def said(self, ask: Ask, turn: int) -> str:  # noqa: ARG002
        """As many words as a first prompt has."""
        count = self._source.choice(self.traffic.input_table)
        return self._writer.fresh(count)[:-1].decode()

    def answer_tokens(self, ask: Ask, turn: int) -> int:  # noqa: ARG002
        """Drawn as the first one was."""
        return self._source.choice(self.traffic.output_table)


class Dataset(Source):
    """A file's samples, each worker every so-manyth of them, again from the start at the end."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        mine = read_samples(Path(job.traffic.samples))[job.index :: job.workers]
        self._samples = mine
        self._turn = iter(_forever(mine))
        longest = max((sample.prompt_tokens for sample in mine), default=1)
        self._writer = Writer(job.traffic, f"{job.seed}/{job.index}", longest)
        self._source = random.Random(f"{job.seed}/{job.index}/lengths")

    def times_s(self) -> list[float]:
        """When the trace sent each sample; as many as `next` goes through in one round."""
        return [sample.at_s for sample in self._samples]

    def next(self) -> Ask:
        """The next sample."""
        sample = next(self._turn)
        ask = Ask(self, self.lora(), sample.prompt_tokens, self._answer_tokens(sample, 0))
        ask.sample = sample
        if len(sample.said) > 1 and self.traffic.chat:
            ask.turns = len(sample.said)
        if sample.said and (self.traffic.chat or sample.messages):
            ask.messages = [*sample.messages, {"role": "user", "content": sample.said[0]}]
        elif sample.messages:
            ask.messages = sample.messages
        return ask

    def body(self, ask: Ask) -> bytes:
        """The sample's own text, or tokens of its lengths with its blocks shared as they were."""
        sample = ask.sample
        assert sample is not None
        if ask.messages is not None:
            return self.frame.content(ask.lora, ask.messages, ask.output_tokens)
        if sample.ids:
            return self.frame.content(ask.lora, sample.ids, ask.output_tokens)
        if sample.said:
            return self.frame.content(ask.lora, sample.said[0], ask.output_tokens)
        return self.frame.prompt(ask.lora, self._pieces(sample), ask.output_tokens)

    def _pieces(self, sample: Sample) -> bytes:
        if not sample.blocks:
            return self._writer.fresh(sample.prompt_tokens)
        left, pieces = sample.prompt_tokens, []
        for number in sample.blocks:
            pieces.append(self._writer.block(number, min(left, BLOCK_TOKENS)))
            left = max(0, left - BLOCK_TOKENS)
        return b"".join(pieces) + (self._writer.fresh(left) if left else b"")

    def said(self, ask: Ask, turn: int) -> str:
        """What the recorded user said."""
        assert ask.sample is not None
        return ask.sample.said[turn]

    def answer_tokens(self, ask: Ask, turn: int) -> int:
        """As long as the recorded answer."""
        assert ask.sample is not None
        return self._answer_tokens(ask.sample, turn)

    def _answer_tokens(self, sample: Sample, turn: int) -> int:
        recorded = sample.answer_tokens[turn] if turn < len(sample.answer_tokens) else 0
        return recorded or self._source.choice(self.traffic.output_table)


def _forever(samples: list[Sample]) -> Iterator[Sample]:
    while True:
        yield from samples


def make_source(job: Job) -> Synthetic | Dataset:
    """What the job's traffic asks for."""
    return Dataset(job) if job.traffic.samples else Synthetic(job)
