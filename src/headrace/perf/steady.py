"""The steady state of continuous batching: throughput and latencies from the step time.

Requests of ISL prompt and OSL output tokens keep `concurrency` slots busy (closed loop). In every
step each decoding sequence yields `tokens_per_step` tokens; finished requests are replaced, and
their prompts are computed in chunks within the token budget. Steps with a prompt in them and steps
without are told apart, since the step time is not linear in the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from headrace.perf.chunks import Chunks, tail
from headrace.perf.mixing import Prompts, Steps, steps_with
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
    the token budget (`Chunks`). What decoding leaves of the budget must hold the prompts of the
    requests that take the place of finished ones, decoding / steps of them in every step: that is
    the ceiling of the sequences that can decode. At the ceiling the others wait (Little's law).
    While it decodes, a request meets the prompts of the others and not its own; in an open loop
    as many come whether it is there or not.
    """
    if concurrency - refill.size >= running:
        refill = ALONE  # those who wait for a slot take the place of each that ends
    concurrency = max(1.0, concurrency - (refill.size - 1) / 2)
    slots = _slots(load, concurrency, running, batched_tokens, steps_ahead, refill.size)
    steps, started = slots.steps, slots.started
    found = steps_with(model, slots.prompts(load), refill, ahead=steps_ahead > 0)
    idle, mixed, share, mean_s = found.idle, found.mixed, found.share, found.mean_s
    request_s = started / mean_s
    slot_s = slots.queued / request_s
    own = 0.0 if refill.any_time else min(1.0, refill.size / max(1.0, slots.admitted))
    seen = share * (1 - own)
    tpot_s = (seen * mixed.step_s + (1 - seen) * idle.step_s) * steps
    tpot_s /= max(1, load.output_tokens - 1)
    if slots.utilization < 1:
        first = _first_token(found, slots, refill)
    else:
        first = _by_littles_law(concurrency / request_s - steps * mean_s - slot_s, found, slots)
    spread = math.sqrt(share * (1 - share) / steps) * (mixed.step_s - idle.step_s) / mean_s
    return SteadyState(
        request_s=request_s,
        tpot_s=tpot_s,
        tpot_p99_s=tpot_s * (1 + 2.33 * math.hypot(spread, load.acceptance_spread)),
        ttft_s=slot_s + first.mean_s,
        ttft_p99_s=slot_s + first.p99_s,
        decoding=slots.decoding,
        step_s=mean_s,
        mixed_step_s=mixed.step_s,
        idle_step_s=idle.step_s,
        mixed_tokens=started * load.computed_input_tokens / share,
        slot_s=slot_s,
        queue_s=slot_s + first.queue_s,
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
    chunks: Chunks
    batched_tokens: int

    @property
    def started(self) -> float:
        """In a step, as many as end in one."""
        return self.decoding / self.steps

    def prompts(self, load: Load) -> Prompts:
        """What the steps have to compute beside those that decode."""
        room = max(1.0, self.batched_tokens - self.decoding * (1 + load.mtp_depth))
        used = self.utilization
        return Prompts(load, self.decoding, self.started, room, self.prefill_steps, used)


def _slots(
    load: Load,
    concurrency: float,
    running: int,
    batched_tokens: int,
    steps_ahead: int,
    refill: int,
) -> _Slots:
    steps = max(load.decode_steps, 1e-9)
    prompt, verified = load.computed_input_tokens, 1 + load.mtp_depth
    admitted = min(concurrency, running)
    waiting_steps = 1 + steps_ahead if concurrency <= running else 0
    ceiling = batched_tokens / (verified + prompt / steps)
    room = max(1.0, batched_tokens - min(admitted, ceiling) * verified)
    last = [math.ceil(n * prompt / room) for n in range(1, refill + 1)]
    prefill_steps = sum(last) / refill
    decoding = admitted * steps / (steps + waiting_steps + prefill_steps)
    chunks = Chunks(prompt / room, load.prompt_variation)
    outside = waiting_steps + prefill_steps
    return _Slots(
        admitted=admitted,
        queued=concurrency - admitted,
        decoding=_beside_queue(min(decoding, ceiling), admitted, steps, outside, chunks),
        utilization=min(decoding / ceiling, 1.0),
        waiting_steps=waiting_steps,
        prefill_steps=prefill_steps,
        steps=steps,
        chunks=chunks,
        batched_tokens=batched_tokens,
    )


def _beside_queue(
    most: float, admitted: float, steps: float, outside: float, chunks: Chunks
) -> float:
    """How many decode where the others wait for the budget: the more wait, the fewer come.

    `most` could decode; a request spends so many steps `outside` besides.
    """

    def too_many(decoding: float) -> bool:
        queued = chunks.queue(decoding / steps, max(1.0, admitted))
        return decoding * (steps + outside + queued) > admitted * steps * 1.001

    low, high = 0.0, most
    if not too_many(most):
        return most
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if too_many(middle) else (middle, high)
    return low


@dataclass(frozen=True)
class _FirstToken:
    """From the time when a request has a slot."""

    queue_s: float
    """For the token budget, on average."""
    mean_s: float
    p99_s: float


def _first_token(found: Steps, slots: _Slots, refill: Refill) -> _FirstToken:
    """The queue, the steps before the one that is put together for a request, and its own.

    One in a hundred meets whole steps and one more with prompts, or queues for long.
    """
    mixed_s = found.mixed.step_s
    requests = math.inf if refill.any_time else slots.admitted
    queue_s = slots.chunks.queue(found.met, requests) * found.full_s
    waiting_s, own_s = _waiting_s(found, slots, refill), found.own_s
    whole_s = max(waiting_s, slots.waiting_steps * found.mean_s)
    return _FirstToken(
        queue_s=queue_s,
        mean_s=queue_s + waiting_s + own_s,
        p99_s=own_s + max(queue_s + whole_s + mixed_s, queue_s * tail(found.busy) + waiting_s),
    )


def _by_littles_law(mean_s: float, found: Steps, slots: _Slots) -> _FirstToken:
    """Where prompts use up the budget, who does not decode waits."""
    mixed_s = found.mixed.step_s
    queue_s = max(0.0, mean_s - slots.prefill_steps * mixed_s)
    return _FirstToken(queue_s, mean_s, mean_s + mixed_s)


def _waiting_s(found: Steps, slots: _Slots, refill: Refill) -> float:
    """The steps before the one that is put together for a request, without the queue.

    Of one that comes at any time the rest of the step under way.
    """
    waits = slots.waiting_steps
    if refill.any_time and waits:
        return found.left_s + (waits - 1) * found.mean_s
    if refill.size == 1 or refill.dealt_over > 1 or found.chunked:
        mixed = waits * found.share
    else:
        mixed = sum(refill.due_before(n, slots.started) for n in range(1, waits + 1))
    return waits * found.idle.step_s + mixed * (found.mixed.step_s - found.idle.step_s)
