"""Steps that have prompts in them, steps that have none, and those with a request's own prompt.

They are told apart since the time of a step is not linear in its tokens: launches bound a step with
one prompt and kernels one with several, and CUDA graphs pad each to a size of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from headrace.perf.chunks import Chunks
from headrace.perf.refill import Refill
from headrace.perf.step import StepModel

if TYPE_CHECKING:
    from headrace.perf.steady import Load

TIMES = 3
"""Until the share of steps with prompts and the time that they take agree."""


@dataclass(frozen=True)
class Step:
    """A step, and its seconds by cause."""

    step_s: float
    parts: dict[str, float]


class StepOf(Protocol):
    """The step beside what decodes."""

    def __call__(self, tokens: float, before: float = 0.0) -> Step:
        """With so many prompt tokens, of a prompt that goes on from a step with `before`."""


@dataclass(frozen=True)
class Prompts:
    """What decoding leaves a replica's steps to compute."""

    load: Load
    decoding: float
    """Sequences beside them."""
    started: float
    """In a step, on average."""
    room: float
    """Tokens of a step that are left for them."""
    prefill_steps: float
    """In which one of a refill is computed, where they take whole steps."""
    budget_share: float
    """Of the room, what is used on average."""

    @property
    def tokens(self) -> float:
        """In a step, on average."""
        return self.started * self.load.computed_input_tokens


@dataclass(frozen=True)
class Steps:
    """The steps of a steady state."""

    idle: Step
    """Without a prompt."""
    mixed: Step
    """With prompts, on average."""
    share: float
    """Of steps that have prompts."""
    full_s: float
    """A step that prompts fill."""
    met: float
    """Prompts that come in a full step. In a closed loop in any: they come when one ends."""
    busy: float
    """Of full steps, those in which others queue behind the prompts that are being computed."""
    own_s: float
    """The steps with a request's own prompt: those with several are the steps of more requests."""
    chunked: bool
    """A refill takes several steps."""

    @property
    def mean_s(self) -> float:
        """Of any step."""
        return self.share * self.mixed.step_s + (1 - self.share) * self.idle.step_s

    @property
    def left_s(self) -> float:
        """Until the step ends, from any moment: long steps are met more often."""
        squared = self.share * self.mixed.step_s**2 + (1 - self.share) * self.idle.step_s**2
        return squared / 2 / self.mean_s


def steps_with(model: StepModel, prompts: Prompts, refill: Refill, *, ahead: bool) -> Steps:
    """The steps that compute these prompts. `ahead`: the next is put together while one runs."""

    @cache
    def step(tokens: float, before: float = 0.0) -> Step:
        batch = prompts.load.batch(prompts.decoding, tokens)
        spare_s = 0.0
        if before and ahead:
            spare_s = model.spare_s(prompts.load.batch(prompts.decoding, before))
        parts = model.parts(batch, spare_s)
        return Step(sum(parts.values()), parts)

    if refill.size == 1 and prompts.load.computed_input_tokens > prompts.room:
        return _in_chunks(step, prompts, refill)
    return _whole(step, prompts, refill)


def _in_chunks(step: StepOf, prompts: Prompts, refill: Refill) -> Steps:
    """Prompts one by one, of which each takes several steps."""
    prompt, room = prompts.load.computed_input_tokens, prompts.room
    variation = prompts.load.prompt_variation
    chunks = Chunks(prompt / room, variation)
    idle, full_s = step(0.0), step(room).step_s
    before = math.ceil(prompt / room) - 1
    last_s = step(prompt - before * room, room).step_s

    def found(met: float) -> Steps:
        busy = chunks.busy(met)
        share = min(1.0, prompts.started * chunks.taken(busy))
        tokens = prompts.tokens / share
        mixed = step(tokens) if variation else _by_chunks(step, prompt, room, tokens)
        own_s = (before + busy) * full_s + (1 - busy) * last_s
        return Steps(idle, mixed, share, full_s, met, busy, own_s, chunked=True)

    steps = found(prompts.started)
    for _ in range(TIMES if refill.any_time else 0):
        steps = found(prompts.started / steps.mean_s * full_s)
    return steps


def _whole(step: StepOf, prompts: Prompts, refill: Refill) -> Steps:
    """Prompts that a step has room for, and refills of several prompts that may exceed it."""
    together, room = refill.size * prompts.load.computed_input_tokens, prompts.room
    chunks = 1.0 if refill.size == 1 else math.ceil(together / room)
    ended = prompts.started * chunks
    some = max(1e-9, 1 - refill.chance(0, ended))
    share = max(some, min(1.0, prompts.tokens / room))
    tokens = prompts.tokens / share
    own_s = None
    if refill.size > 1 and together > room:
        mixed = _by_chunks(step, together, room, tokens)
    elif together < tokens:
        one, two = (refill.chance(count, ended) / some for count in (1, 2))
        mixed = _mean(_by_prompts(step, together, tokens, one, two))
        own_s = _own_s(step, together, room, ended, refill)
    else:
        mixed = step(tokens)
    own_s = (own_s or mixed.step_s) + (prompts.prefill_steps - 1) * mixed.step_s
    idle, met, busy = step(0.0), prompts.started, prompts.budget_share
    return Steps(idle, mixed, share, mixed.step_s, met, busy, own_s, chunked=together > room)


def _own_s(step: StepOf, together: float, room: float, ended: float, refill: Refill) -> float:
    """The step that a request's prompt is in, by what came with it or happens to be there too."""
    if refill.dealt_over > 1:
        each = together / refill.size
        return step(min(refill.prompts_dealt(ended) * each, room)).step_s
    one, two, mean = refill.around_one(ended)
    steps = _by_prompts(step, together, min(mean * together, room), one, two)
    return sum(share * each.step_s for share, each in steps)


def _by_chunks(step: StepOf, together: float, room: float, tokens: float) -> Step:
    """The mean of the steps that one prompt takes, or several that come together.

    The last of them is not full, unless others queue behind: that makes `tokens` on average.
    """
    before = math.ceil(together / room) - 1
    alone = together / (before + 1)
    full = min(1.0, max(0.0, (tokens - alone) / max(1.0, room - alone)))
    each = (1 - full) / (before + 1)
    last = step(together - before * room, room if before else 0.0)
    return _mean([(full + each * before, step(room)), (each, last)])


def _by_prompts(
    step: StepOf, prompt: float, tokens: float, one: float, two: float
) -> list[tuple[float, Step]]:
    """Steps with one refill (`one` of them), two and more, by their shares: `tokens` on average."""
    more = max(1 - one - two, 1e-9)
    rest = max((tokens - (one + 2 * two) * prompt) / more, prompt)
    return [(one, step(prompt)), (two, step(2 * prompt)), (more, step(rest))]


def _mean(steps: Sequence[tuple[float, Step]]) -> Step:
    """Of steps with their shares, which add up to one."""
    parts = {k: sum(share * each.parts[k] for share, each in steps) for k in steps[0][1].parts}
    return Step(sum(parts.values()), parts)
