"""The steady state of continuous batching: throughput and latencies from the step time.

Requests of ISL prompt and OSL output tokens keep `concurrency` slots busy (closed loop). In every
step each decoding sequence yields `tokens_per_step` tokens; finished requests are replaced, and
their prompts are computed in chunks within the token budget. Steps with a prompt in them and steps
without are told apart, since the step time is not linear in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from headrace.perf.refill import ALONE, Refill
from headrace.perf.step import StepBatch, StepModel


@dataclass(frozen=True)
class Load:
    """The workload of one replica."""

    input_tokens: float
    output_tokens: float
    prefix_hit_rate: float
    acceptance: float
    mtp_depth: int

    @cached_property
    def tokens_per_step(self) -> float:
        """Expected tokens per verification: 1 + a + a^2 + ... up to the draft depth."""
        return sum(self.acceptance**i for i in range(self.mtp_depth + 1))

    @cached_property
    def decode_steps(self) -> float:
        """Steps from the first token to the last. Half of a step's extra tokens go to waste."""
        extra = self.tokens_per_step - 1
        return max(0.0, (self.output_tokens - 1) / self.tokens_per_step + extra / 2 * 0.5)

    @cached_property
    def computed_input_tokens(self) -> float:
        """Prompt tokens that are not found in the prefix cache."""
        return max(1.0, self.input_tokens * (1 - self.prefix_hit_rate))

    @property
    def mean_context_tokens(self) -> float:
        """Context of a sequence averaged over its decoding."""
        return self.input_tokens + self.output_tokens / 2

    @property
    def attended_tokens(self) -> float:
        """Context that a computed prompt token attends to, on average."""
        return self.input_tokens - self.computed_input_tokens / 2

    @cached_property
    def acceptance_spread(self) -> float:
        """Relative deviation of a request's steps from chance in acceptance."""
        if self.mtp_depth == 0 or self.output_tokens < 2:
            return 0.0
        a, k = self.acceptance, self.mtp_depth
        chances = [a**i * (1 - a) for i in range(k)] + [a**k]
        mean = sum((i + 1) * p for i, p in enumerate(chances))
        variance = sum((i + 1 - mean) ** 2 * p for i, p in enumerate(chances))
        return math.sqrt(variance / max(1.0, self.decode_steps)) / mean

    def batch(self, decoding: float, prompt_tokens: float) -> StepBatch:
        """A step in which so many sequences decode beside so many tokens of mean prompts."""
        prompts = max(1.0, prompt_tokens / self.computed_input_tokens) if prompt_tokens else 0.0
        context, attended = (
            decoding * self.mean_context_tokens,
            prompt_tokens * self.attended_tokens,
        )
        return StepBatch(decoding, context, prompt_tokens, prompts, attended)

    @property
    def prompt_variation(self) -> float:
        """Squared coefficient of variation of the computed prompt tokens."""
        return 0.0


@dataclass(frozen=True)
class SteadyState:
    """One replica under a held concurrency."""

    request_s: float
    tpot_s: float
    tpot_p99_s: float
    ttft_s: float
    ttft_p99_s: float
    decoding: float
    step_s: float
    mixed_step_s: float
    """A step with a prompt in it."""
    idle_step_s: float
    """A step without one."""
    mixed_tokens: float
    """Prompt tokens in a step that has any, on average."""
    slot_s: float
    """Mean wait for a slot, within `queue_s`."""
    queue_s: float
    """Mean wait for a slot and for the token budget, within `ttft_s`."""
    decided_s: float
    """A mean step, where one is put together before a request comes."""
    budget_share: float
    """Share of steps in which the token budget is used up: who arrives then queues."""
    share: float
    """Of steps that have a prompt in them."""
    of_mixed: dict[str, float]
    of_idle: dict[str, float]
    """Seconds of steps by cause, with a prompt and without."""

    @property
    def parts(self) -> dict[str, float]:
        """Mean seconds of a step by cause."""
        idle, mixed, share = self.of_idle, self.of_mixed, self.share
        return {cause: share * mixed[cause] + (1 - share) * idle[cause] for cause in idle}


def steady_state(
    model: StepModel,
    load: Load,
    concurrency: float,
    running: int,
    batched_tokens: int,
    steps_ahead: int = 0,
    refill: Refill = ALONE,
) -> SteadyState:
    """Solve for one replica. `running` caps the sequences in the batch; the rest wait.

    `steps_ahead` are put together before a request comes, beside the one under way. A `refill`,
    few requests of all, takes the place of finished ones at a time: the first of them waits for
    the others outside, and their prompts share a step.

    A closed loop's new request arrives just after a step began, when the answer it follows was
    sent: it waits that step out, and then its prompt takes `prefill_steps`, in which it queues for
    the token budget (M/G/1). What decoding leaves of the budget must hold the prompts of the
    requests that take the place of finished ones, decoding / steps of them in every step: that is
    the ceiling of the sequences that can decode. At the ceiling the others wait (Little's law).
    While it decodes, a request meets the prompts of the others and not its own.
    """
    if concurrency - refill.size >= running:
        refill = ALONE  # those who wait for a slot take the place of each that ends
    concurrency = max(1.0, concurrency - (refill.size - 1) / 2)
    slots = _slots(load, concurrency, running, batched_tokens, steps_ahead, refill.size)
    steps, started = slots.steps, slots.started
    found = _steps(model, load, slots.decoding, started, batched_tokens, refill)
    idle, mixed, share, mean_s = found.idle, found.mixed, found.share, found.mean_s
    request_s = started / mean_s
    slot_s = slots.queued / request_s
    seen = share * (1 - min(1.0, refill.size / max(1.0, slots.admitted)))
    tpot_s = (seen * mixed.step_s + (1 - seen) * idle.step_s) * steps
    tpot_s /= max(1, load.output_tokens - 1)
    if slots.utilization < 1:
        queue_s = slot_s + slots.queued_steps(load.prompt_variation) * mixed.step_s
        ttft_s = queue_s + _first_token_s(found, slots, refill)
    else:
        ttft_s = concurrency / request_s - steps * mean_s
        queue_s = max(0.0, ttft_s - slots.prefill_steps * mixed.step_s)
    spread = math.sqrt(share * (1 - share) / steps) * (mixed.step_s - idle.step_s) / mean_s
    return SteadyState(
        request_s=request_s,
        tpot_s=tpot_s,
        tpot_p99_s=tpot_s * (1 + 2.33 * math.hypot(spread, load.acceptance_spread)),
        ttft_s=ttft_s,
        ttft_p99_s=ttft_s + mixed.step_s,
        decoding=slots.decoding,
        step_s=mean_s,
        mixed_step_s=mixed.step_s,
        idle_step_s=idle.step_s,
        mixed_tokens=started * load.computed_input_tokens / share,
        slot_s=slot_s,
        queue_s=queue_s,
        decided_s=steps_ahead * mean_s if slots.queued == 0 else 0.0,
        budget_share=slots.utilization,
        share=share,
        of_mixed=mixed.parts,
        of_idle=idle.parts,
    )


@dataclass(frozen=True)
class _Slots:
    """Where the requests are, and for how many steps."""

    admitted: float
    queued: float
    """For a slot."""
    decoding: float
    utilization: float
    """Of what decoding leaves of the token budget."""
    waiting_steps: int
    """From a request's arrival until a step is put together for it, where a slot is free."""
    prefill_steps: float
    steps: float
    """In which a request decodes."""

    @property
    def started(self) -> float:
        """In a step, as many as end in one."""
        return self.decoding / self.steps

    def queued_steps(self, variation: float) -> float:
        """Full ones before a prompt's own, by the squared variation of prompts (M/G/1)."""
        return self.utilization / 2 / (1 - self.utilization) * (1 + variation)


def _slots(
    load: Load,
    concurrency: float,
    running: int,
    batched_tokens: int,
    steps_ahead: int,
    refill: int,
) -> _Slots:
    steps = max(load.decode_steps, 1e-9)
    prompt = load.computed_input_tokens
    admitted = min(concurrency, running)
    waiting_steps = 1 + steps_ahead if concurrency <= running else 0
    last = [math.ceil(n * prompt / batched_tokens) for n in range(1, refill + 1)]
    prefill_steps = sum(last) / refill
    decoding = admitted * steps / (steps + waiting_steps + prefill_steps)
    ceiling = batched_tokens / (1 + load.mtp_depth + prompt / steps)
    return _Slots(
        admitted=admitted,
        queued=concurrency - admitted,
        decoding=min(decoding, ceiling),
        utilization=min(decoding / ceiling, 1.0),
        waiting_steps=waiting_steps,
        prefill_steps=prefill_steps,
        steps=steps,
    )


@dataclass(frozen=True)
class _Step:
    step_s: float
    parts: dict[str, float]


@dataclass(frozen=True)
class _Steps:
    idle: _Step
    """Without a prompt."""
    mixed: _Step
    share: float
    """Of steps that have a prompt."""
    own_s: float
    """The step with a request's own prompt: those with several are the step of more requests."""
    chunked: bool
    """A refill takes several steps."""

    @property
    def mean_s(self) -> float:
        """Of any step."""
        return self.share * self.mixed.step_s + (1 - self.share) * self.idle.step_s


def _steps(
    model: StepModel,
    load: Load,
    decoding: float,
    started: float,
    batched_tokens: int,
    refill: Refill,
) -> _Steps:
    prompt = refill.size * load.computed_input_tokens
    room = max(1.0, batched_tokens - decoding * (1 + load.mtp_depth))
    # who follow one by one fill up what a longer prompt leaves of its last step
    chunks = prompt / room if refill.size == 1 else math.ceil(prompt / room)
    ended = started * max(1.0, chunks)
    some = max(1e-9, 1 - refill.chance(0, ended))
    share = max(some, min(1.0, started * load.computed_input_tokens / room))
    tokens = started * load.computed_input_tokens / share

    @cache
    def step(tokens: float) -> _Step:
        parts = model.parts(load.batch(decoding, tokens))
        return _Step(sum(parts.values()), parts)

    own_s = None
    if refill.size > 1 and prompt > room:
        mixed = _by_chunks(step, prompt, room, tokens)
    elif prompt < tokens:
        one, two = (refill.chance(count, ended) / some for count in (1, 2))
        mixed = _by_prompts(step, prompt, tokens, one, two)
        own_s = _own_s(step, prompt, room, ended, refill)
    else:
        mixed = step(tokens)
    return _Steps(step(0.0), mixed, share, own_s or mixed.step_s, chunked=prompt > room)


def _own_s(
    step: Callable[[float], _Step], prompts: float, room: float, ended: float, refill: Refill
) -> float:
    """The step that a request's prompt is in, by what came with it or happens to be there too."""
    if refill.dealt_over > 1:
        each = prompts / refill.size
        return step(min(refill.prompts_dealt(ended) * each, room)).step_s
    one, two, mean = refill.around_one(ended)
    return _by_prompts(step, prompts, min(mean * prompts, room), one, two).step_s


def _first_token_s(found: _Steps, slots: _Slots, refill: Refill) -> float:
    """The steps before the one that is put together for a request, and those of its prompt."""
    waits = slots.waiting_steps
    if refill.size == 1 or refill.dealt_over > 1 or found.chunked:
        mixed = waits * found.share
    else:
        mixed = sum(refill.due_before(n, slots.started) for n in range(1, waits + 1))
    longer_s = found.mixed.step_s - found.idle.step_s
    waiting_s = waits * found.idle.step_s + mixed * longer_s
    return waiting_s + found.own_s + (slots.prefill_steps - 1) * found.mixed.step_s


def _by_chunks(step: Callable[[float], _Step], prompts: float, room: float, tokens: float) -> _Step:
    """The mean of the steps that prompts take which come together and exceed the budget.

    The last of them is not full, unless others queue behind: that makes `tokens` on average.
    """
    whole = math.ceil(prompts / room) - 1
    alone = prompts / (whole + 1)
    full = min(1.0, max(0.0, (tokens - alone) / max(1.0, room - alone)))
    each = (1 - full) / (whole + 1)
    return _mean([(full + each * whole, step(room)), (each, step(prompts - whole * room))])


def _mean(steps: Sequence[tuple[float, _Step]]) -> _Step:
    """Of steps with their shares, which add up to one."""
    parts = {k: sum(share * each.parts[k] for share, each in steps) for k in steps[0][1].parts}
    return _Step(sum(parts.values()), parts)


def _by_prompts(
    step: Callable[[float], _Step], prompt: float, tokens: float, one: float, two: float
) -> _Step:
    """The mean of steps with one refill (`one` of them), two and more: `tokens` on average.

    The time of a step is not linear in its tokens: launches bound a step with one prompt and
    kernels one with several, and CUDA graphs pad each to a size of its own.
    """
    more = max(1 - one - two, 1e-9)
    rest = max((tokens - (one + 2 * two) * prompt) / more, prompt)
    return _mean([(one, step(prompt)), (two, step(2 * prompt)), (more, step(rest))])
