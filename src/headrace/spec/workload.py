"""The load: lengths of requests and conversations, and how many are in flight or arrive."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from headrace.spec.lengths import AnyLengths, Fixed, Lengths, as_lengths
from headrace.spec.part import Part

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
    request_rate: PositiveFloat | None = Field(
        None, description="Requests per second (open loop, Poisson) instead of a concurrency."
    )
    token_rate: PositiveFloat | None = Field(
        None, description="Total tokens per second, input and output, instead of a request_rate."
    )

    @property
    def inputs(self) -> AnyLengths:
        """What a request, or a turn of a conversation, brings in new tokens."""
        return as_lengths(self.input_tokens)

    @property
    def outputs(self) -> AnyLengths:
        """What it is answered with."""
        return as_lengths(self.output_tokens)

    @property
    def in_words(self) -> str:
        """`1,024 in / 512 out`; of distributions the means."""
        words = f"{_in_words(self.inputs)} in / {_in_words(self.outputs)} out"
        if self.conversation is None:
            return words
        return f"{words} a turn, {_in_words(as_lengths(self.conversation.turns))} turns"

    @property
    def reuses_prefixes(self) -> bool:
        """Some prompt begins as another one did."""
        return self.prefix_hit_rate > 0 or self.conversation is not None

    @property
    def longest_tokens(self) -> int:
        """Prompt and answer of the longest request that there can be."""
        turn = self.inputs.longest + self.outputs.longest
        if self.conversation is None:
            return turn
        talk = self.conversation
        return talk.shared_tokens + as_lengths(talk.turns).longest * turn


def _in_words(lengths: AnyLengths) -> str:
    if isinstance(lengths, Fixed):
        return f"{lengths.tokens:,}"
    return f"{lengths.distribution} {lengths.mean:,.0f}"
