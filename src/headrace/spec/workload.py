"""The load: lengths of requests and conversations, and how many are in flight or arrive."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.json_schema import SkipJsonSchema

from headrace.spec.lengths import AnyLengths, Empirical, Fixed, Lengths, as_lengths
from headrace.spec.part import Part
from headrace.spec.trace import Traced

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


def _acceptance() -> dict[Literal["mtp"], float]:
    return {"mtp": 0.8}


class Conversation(Part):
    """Several turns, each of which sends all that was said before.

    `workload.input_tokens` are then what a turn adds, and `output_tokens` each of its answers: the
    prompt grows from turn to turn, and its beginning may still be in the prefix cache.
    """

    turns: PositiveInt | Lengths = Field(description="Requests in one conversation.")
    think_time_s: NonNegativeFloat = Field(
        0.0, description="Seconds from an answer's end to the next turn of its conversation."
    )
    shared_tokens: NonNegativeInt = Field(
        0, description="Tokens that every conversation begins with alike: a system prompt."
    )


class Workload(Part):
    """The load that the fleet is planned for and measured under."""

    trace: str | None = Field(
        None,
        description="A file of requests (a Mooncake or BurstGPT trace, ShareGPT conversations, any "
        "JSONL), seen from the fleet file. Lengths, prefix reuse and, unless one is stated here, "
        "the rate are the file's; the load of `headrace run` is the file.",
        examples=["requests.jsonl"],
    )
    trace_format: Literal["auto", "sharegpt", "mooncake", "burstgpt", "jsonl"] = Field(
        "auto", description="What the trace is; `auto` tells by its beginning."
    )
    traced: SkipJsonSchema[Traced | None] = None
    """What was read of the trace: filled in where a fleet file is loaded, never written in one."""
    input_tokens: PositiveInt | Lengths = Field(
        1024, description="Prompt tokens per request (ISL): a number, or a distribution."
    )
    output_tokens: PositiveInt | Lengths = Field(
        512, description="Generated tokens per request (OSL): a number, or a distribution."
    )
    conversation: Conversation | None = Field(
        None, description="Multi-turn conversations instead of single requests."
    )
    prefix_hit_rate: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0,
        description="Share of prompt tokens found in the prefix cache. Not with a conversation, "
        "where it follows from the turns.",
    )
    acceptance: dict[Literal["mtp"], Probability] = Field(
        default_factory=_acceptance,
        description="Probability that a drafted token is accepted, per drafting method.",
    )
    concurrency: Literal["auto"] | PositiveInt = Field(
        "auto", description="Requests in flight over the whole fleet; `auto` leaves it to the plan."
    )
    refill: PositiveInt = Field(
        1,
        description="Requests that take the place of finished ones so many at a time, over the "
        "whole fleet, with a held concurrency: their prompts then share a step. Each replica "
        "has its share where there is no gateway; a gateway deals them out. 1 follows each at "
        "once.",
    )
    request_rate: PositiveFloat | None = Field(
        None, description="Requests per second (open loop, Poisson) instead of a concurrency."
    )
    token_rate: PositiveFloat | None = Field(
        None, description="Total tokens per second, input and output, instead of a request_rate."
    )

    @property
    def inputs(self) -> AnyLengths:
        """What a request, or a turn of a conversation, brings in new tokens; a trace's prompts."""
        return (
            Empirical(values=self.traced.prompts) if self.traced else as_lengths(self.input_tokens)
        )

    @property
    def outputs(self) -> AnyLengths:
        """What it is answered with."""
        return (
            Empirical(values=self.traced.outputs) if self.traced else as_lengths(self.output_tokens)
        )

    @property
    def stated_rate(self) -> float | None:
        """Requests or tokens per second, whichever is stated."""
        return self.request_rate or self.token_rate

    @property
    def in_words(self) -> str:
        """`1,024 in / 512 out`; of distributions the means."""
        if self.traced is not None and self.trace is not None:
            name, count = PurePath(self.trace).name, self.traced.requests
            means = f"{self.inputs.mean:,.0f} in / {self.outputs.mean:,.0f} out"
            return f"{name}, {count:,} requests of {means} on average"
        words = f"{_in_words(self.inputs)} in / {_in_words(self.outputs)} out"
        if self.refill > 1:
            words += f", {self.refill} at a time"
        if self.conversation is None:
            return words
        return f"{words} a turn, {_in_words(as_lengths(self.conversation.turns))} turns"

    @property
    def reuses_prefixes_of_trace(self) -> bool:
        """Some request of the trace begins as another one did."""
        return self.traced is not None and any(self.traced.known)

    @property
    def reuses_prefixes(self) -> bool:
        """Some prompt begins as another one did."""
        if self.reuses_prefixes_of_trace:
            return True
        return self.prefix_hit_rate > 0 or self.conversation is not None

    @property
    def longest_tokens(self) -> int:
        """Prompt and answer of the longest request that there can be."""
        if self.traced is not None:
            return self.traced.longest_tokens
        turn = self.inputs.longest + self.outputs.longest
        if self.conversation is None:
            return turn
        talk = self.conversation
        return talk.shared_tokens + as_lengths(talk.turns).longest * turn


def _in_words(lengths: AnyLengths) -> str:
    if isinstance(lengths, Fixed):
        return f"{lengths.tokens:,}"
    return f"{lengths.distribution} {lengths.mean:,.0f}"
