"""What a plan keeps of a file of requests: a sample of them, and how they follow each other."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from headrace.spec.part import Part

Column = Annotated[list[PositiveInt], Field(min_length=1)]


class Traced(Part):
    """The requests of a trace, sampled evenly over their lengths; one list entry each.

    `known` are prompt tokens that an earlier request sent or was answered with, and `ages` how many
    new tokens (computed prompts and answers of the whole trace) were written between that one and
    this: a cache that keeps more than so many still has them. `common` are those tokens of `known`
    that so many requests begin with that every cache has them.
    """

    requests: PositiveInt
    """In the file, turns of conversations counted one by one."""
    request_s: PositiveFloat | None
    """Mean rate, where the file says when its requests were sent."""
    chat: bool
    """Its requests are messages or turns of a conversation."""
    longest_tokens: PositiveInt
    """Prompt and answer of the longest request in the file."""
    prompts: Column
    outputs: Column
    known: list[NonNegativeInt]
    common: list[NonNegativeInt]
    ages: list[NonNegativeFloat]
