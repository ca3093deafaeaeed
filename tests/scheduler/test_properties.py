"""What holds for every workload: tokens are conserved, limits are kept, every request ends."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.scheduler.scheduler import Scheduler
from headrace.scheduler.sequence import Sequence
from headrace.scheduler.spec import CacheSpec, SchedulerSpec
from headrace.scheduler.step import Step

CONTEXT = 96


@dataclass
class Case:
    spec: SchedulerSpec
    sizes: list[tuple[int, int]]
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    groups, state, page_tokens = draw(st.tuples(*[st.integers(1, 3)] * 2, st.integers(1, 32)))
    depth = draw(st.integers(0, 3))
    smallest = -(-CONTEXT // page_tokens) * groups + state
    spec = SchedulerSpec(
        max_num_seqs=draw(st.integers(1, 6)),
        max_num_batched_tokens=draw(st.integers(1 + depth, 64)),
        max_model_len=CONTEXT,
        cache=CacheSpec(draw(st.integers(smallest, 4 * smallest)), page_tokens, groups, state),
        mtp_depth=depth,
        acceptance=draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
        prefix_hit_rate=draw(st.sampled_from([0.0, 0.3, 0.95])),
    )
    sizes = draw(
        st.lists(st.tuples(st.integers(1, 60), st.integers(1, 36)), min_size=1, max_size=12)
    )
    return Case(spec, sizes, draw(st.integers(0, 3)))


def check_limits(scheduler: Scheduler, step: Step, live: list[Sequence]) -> None:
    spec = scheduler.spec
    held = sum(sequence.pages for sequence in live)
    assert 0 <= scheduler.free_pages == spec.cache.pages - held
    assert 0 < step.tokens <= spec.max_num_batched_tokens
    assert scheduler.running <= spec.max_num_seqs
    decoding_context = sum(sequence.length for sequence in step.decoding)
    assert step.batch.decode_context_tokens == decoding_context
    assert step.batch.decode_sequences == len(step.decoding)
    for sequence in step.decoding:
        drafted = min(sequence.length + spec.mtp_depth, sequence.end)
        assert sequence.pages >= spec.cache.pages_for(drafted)
    for sequence, chunk in step.prefills:
        assert chunk > 0
        assert sequence.pages >= spec.cache.pages_for(sequence.computed + chunk)


@settings(max_examples=120, deadline=None)
@given(cases())
def test_every_request_ends_with_all_its_tokens_within_all_limits(case: Case) -> None:
    scheduler = Scheduler(case.spec, case.seed)
    sequences = [Sequence(prompt, output) for prompt, output in case.sizes]
    seen: dict[Sequence, int] = dict.fromkeys(sequences, 0)
    arrivals = random.Random(case.seed)
    arriving = list(sequences)
    for _ in range(20_000):
        while arriving and arrivals.random() < 0.5:
            scheduler.add(arriving.pop(0))
        step = scheduler.schedule()
        if step is None:
            if not arriving:
                break
            continue
        check_limits(scheduler, step, sequences)
        for sequence in scheduler.finish(step):
            assert 1 <= sequence.new_tokens <= 1 + case.spec.mtp_depth
            assert sequence.is_first_output == (seen[sequence] == 0)
            seen[sequence] += sequence.new_tokens
            assert sequence.finished == (sequence.length == sequence.end)
    assert [seen[s] for s in sequences] == [output for _, output in case.sizes]
    assert scheduler.is_idle
    assert scheduler.free_pages == case.spec.cache.pages
    assert scheduler.counters.generated_tokens == sum(output for _, output in case.sizes)
    assert scheduler.counters.prompt_tokens == sum(prompt for prompt, _ in case.sizes)


@settings(max_examples=60, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_aborts_at_any_moment_leave_nothing_behind(case: Case, chance: random.Random) -> None:
    scheduler = Scheduler(case.spec, case.seed)
    sequences = [Sequence(prompt, output) for prompt, output in case.sizes]
    for sequence in sequences:
        scheduler.add(sequence)

    def abort_some() -> None:
        for sequence in sequences:
            if chance.random() < 0.1:
                scheduler.abort(sequence)

    while True:
        abort_some()
        step = scheduler.schedule()
        if step is None:
            break
        check_limits(scheduler, step, sequences)
        abort_some()
        for sequence in scheduler.finish(step):
            assert not sequence.aborted
    assert all(sequence.finished != sequence.aborted for sequence in sequences)
    assert scheduler.is_idle
    assert scheduler.free_pages == case.spec.cache.pages


@settings(max_examples=60, deadline=None)
@given(cases())
def test_first_tokens_come_in_the_order_of_arrival(case: Case) -> None:
    """First come, first served: no request is overtaken on the way to its first token."""
    scheduler = Scheduler(case.spec, case.seed)
    sequences = [Sequence(prompt, output) for prompt, output in case.sizes]
    for sequence in sequences:
        scheduler.add(sequence)
    first: list[Sequence] = []
    while (step := scheduler.schedule()) is not None:
        first += [s for s in scheduler.finish(step) if s.is_first_output]
    assert first == sequences
