"""Continuous batching, example by example."""

from __future__ import annotations

import pytest

from headrace.scheduler.scheduler import Scheduler
from headrace.scheduler.sequence import Sequence
from headrace.scheduler.spec import CacheSpec, SchedulerSpec
from headrace.scheduler.step import Step


def spec_of(
    *,
    max_num_seqs: int = 8,
    max_num_batched_tokens: int = 64,
    max_model_len: int = 256,
    pages: int = 1000,
    page_tokens: int = 16,
    token_groups: int = 1,
    state_pages: int = 0,
    mtp_depth: int = 0,
    acceptance: float = 0.0,
    prefix_hit_rate: float = 0.0,
    steps_ahead: int = 0,
) -> SchedulerSpec:
    cache = CacheSpec(pages, page_tokens, token_groups, state_pages)
    return SchedulerSpec(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        max_model_len=max_model_len,
        cache=cache,
        mtp_depth=mtp_depth,
        acceptance=acceptance,
        prefix_hit_rate=prefix_hit_rate,
        steps_ahead=steps_ahead,
    )


def step_of(scheduler: Scheduler) -> Step:
    step = scheduler.schedule()
    assert step is not None
    return step


def add(scheduler: Scheduler, *sizes: tuple[int, int]) -> list[Sequence]:
    sequences = [Sequence(prompt, output) for prompt, output in sizes]
    for sequence in sequences:
        scheduler.add(sequence)
    return sequences


def run_to_end(scheduler: Scheduler, limit: int = 10_000) -> int:
    """Steps until idle."""
    for steps in range(limit):
        step = scheduler.schedule()
        if step is None:
            return steps
        scheduler.finish(step)
    raise AssertionError("the scheduler did not come to an end")


def test_an_idle_scheduler_has_no_step() -> None:
    scheduler = Scheduler(spec_of())
    assert scheduler.schedule() is None
    assert scheduler.is_idle


def test_the_last_prefill_chunk_yields_the_first_token() -> None:
    scheduler = Scheduler(spec_of(max_num_batched_tokens=64))
    (sequence,) = add(scheduler, (100, 3))
    first = step_of(scheduler)
    assert first.prefills == [(sequence, 64)]
    assert first.batch.prefill_context_tokens == 64 * 32
    assert scheduler.finish(first) == []
    second = step_of(scheduler)
    assert second.prefills == [(sequence, 36)]
    assert second.batch.prefill_context_tokens == 36 * (64 + 18)
    assert scheduler.finish(second) == [sequence]
    assert (sequence.generated, sequence.new_tokens, sequence.is_first_output) == (1, 1, True)
    third = step_of(scheduler)
    assert (third.batch.decode_sequences, third.batch.decode_context_tokens) == (1, 101)
    scheduler.finish(third)
    assert not sequence.is_first_output
    scheduler.finish(step_of(scheduler))
    assert sequence.finished
    assert scheduler.is_idle


def test_decoding_goes_before_new_prompts_and_leaves_them_the_rest_of_the_budget() -> None:
    scheduler = Scheduler(spec_of(max_num_batched_tokens=32))
    old = add(scheduler, (10, 50), (10, 50))
    scheduler.finish(step_of(scheduler))
    (new,) = add(scheduler, (100, 5))
    step = step_of(scheduler)
    assert step.decoding == old
    assert step.prefills == [(new, 30)]
    assert step.tokens == 32


def test_waiting_sequences_are_taken_first_come_first_served_up_to_max_num_seqs() -> None:
    scheduler = Scheduler(spec_of(max_num_seqs=2))
    a, b, c = add(scheduler, (4, 1), (4, 5), (4, 5))
    step = step_of(scheduler)
    assert [s for s, _ in step.prefills] == [a, b]
    assert (scheduler.running, scheduler.waiting) == (2, 1)
    scheduler.finish(step)
    assert a.finished
    assert [s for s, _ in step_of(scheduler).prefills] == [c]


def test_a_prompt_is_admitted_only_when_all_of_it_fits_the_cache() -> None:
    scheduler = Scheduler(spec_of(pages=6, max_num_batched_tokens=16, max_model_len=96))
    add(scheduler, (16, 17))
    scheduler.finish(step_of(scheduler))
    (large,) = add(scheduler, (80, 1))
    step = step_of(scheduler)
    assert step.prefills == []
    assert scheduler.free_pages == 4
    run_to_end(scheduler)
    assert large.finished


def test_state_pages_are_held_from_admission() -> None:
    scheduler = Scheduler(spec_of(pages=20, state_pages=6, token_groups=2))
    add(scheduler, (16, 4), (16, 4), (16, 4))
    step_of(scheduler)
    assert scheduler.running == 2
    assert scheduler.free_pages == 20 - 2 * (6 + 2)


def test_the_newest_running_sequence_is_preempted_and_computed_again() -> None:
    scheduler = Scheduler(spec_of(pages=4, max_model_len=64))
    old, new = add(scheduler, (30, 20), (30, 20))
    scheduler.finish(step_of(scheduler))
    assert scheduler.free_pages == 0
    for _ in range(2):
        scheduler.finish(step_of(scheduler))
    assert (old.length, new.length) == (33, 33)
    assert scheduler.counters.preemptions == 0
    step = step_of(scheduler)
    assert step.decoding == [old]
    assert step.prefills == []
    assert (new.preemptions, new.running, scheduler.waiting) == (1, False, 1)
    run_to_end(scheduler)
    assert old.finished
    assert new.finished
    assert new.generated == 20
    assert scheduler.counters.prompt_tokens == 60
    assert scheduler.counters.generated_tokens == 40


def test_a_preempted_sequence_goes_to_the_head_of_the_queue() -> None:
    scheduler = Scheduler(spec_of(pages=4, max_model_len=64, max_num_seqs=2))
    old, new = add(scheduler, (30, 5), (30, 20))
    (latest,) = add(scheduler, (2, 2))
    while new.preemptions == 0:
        scheduler.finish(step_of(scheduler))
    while not old.finished:
        scheduler.finish(step_of(scheduler))
    step = step_of(scheduler)
    assert [s for s, _ in step.prefills] == [new, latest]
    assert step.prefills[0][1] == new.length


def test_drafts_are_verified_within_the_budget() -> None:
    scheduler = Scheduler(spec_of(max_num_batched_tokens=10, mtp_depth=3, acceptance=1.0))
    sequences = add(scheduler, (2, 40), (2, 40), (2, 40))
    scheduler.finish(step_of(scheduler))
    step = step_of(scheduler)
    assert step.decoding == sequences[:2]
    assert step.batch.decode_context_tokens == 6
    assert step.tokens == 8
    scheduler.finish(step)
    assert [s.generated for s in sequences] == [5, 5, 1]


def test_accepted_drafts_beyond_the_end_are_cut_but_counted() -> None:
    scheduler = Scheduler(spec_of(mtp_depth=3, acceptance=1.0))
    (sequence,) = add(scheduler, (4, 3))
    scheduler.finish(step_of(scheduler))
    scheduler.finish(step_of(scheduler))
    assert sequence.finished
    assert (sequence.generated, sequence.new_tokens) == (3, 2)
    assert scheduler.counters.accepted_per_position == [1, 1, 1]
    assert scheduler.counters.drafts == 1
    assert scheduler.counters.generated_tokens == 3


@pytest.mark.parametrize(("rate", "computed"), [(0.0, 40), (0.5, 20), (0.99, 1)])
def test_cached_prompt_tokens_are_not_computed(rate: float, computed: int) -> None:
    scheduler = Scheduler(spec_of(prefix_hit_rate=rate))
    (sequence,) = add(scheduler, (40, 2))
    step = step_of(scheduler)
    assert step.prefills == [(sequence, computed)]
    assert sequence.cached_tokens == 40 - computed == scheduler.counters.cached_tokens


def test_aborting_frees_pages_at_once_also_in_the_middle_of_a_step() -> None:
    scheduler = Scheduler(spec_of(max_num_seqs=2))
    a, b, waiting = add(scheduler, (10, 20), (10, 20), (10, 20))
    scheduler.finish(step_of(scheduler))
    step = step_of(scheduler)
    scheduler.abort(a)
    scheduler.abort(a)
    scheduler.abort(waiting)
    assert scheduler.free_pages == 999
    assert scheduler.finish(step) == [b]
    assert (a.generated, b.generated) == (1, 2)
    assert (scheduler.running, scheduler.waiting) == (1, 0)
    scheduler.abort(b)
    assert scheduler.schedule() is None
    assert scheduler.free_pages == 1000


def test_aborting_a_prompt_in_the_middle_of_a_step_yields_no_token() -> None:
    scheduler = Scheduler(spec_of(max_num_batched_tokens=64))
    (sequence,) = add(scheduler, (20, 20))
    step = step_of(scheduler)
    scheduler.abort(sequence)
    assert scheduler.finish(step) == []
    assert scheduler.is_idle
    assert scheduler.free_pages == 1000


def test_aborted_sequences_do_not_pile_up_behind_a_blocked_queue() -> None:
    scheduler = Scheduler(spec_of(max_num_seqs=1))
    add(scheduler, (4, 200))
    step_of(scheduler)
    for sequence in add(scheduler, *[(4, 4)] * 1000):
        scheduler.abort(sequence)
    assert scheduler.waiting == 0
    assert len(scheduler._queue) < 100


@pytest.mark.parametrize(
    ("prompt", "output", "says"),
    [(0, 1, "at least one"), (1, 0, "at least one"), (200, 100, "context"), (120, 8, "pages")],
)
def test_a_sequence_that_could_never_finish_is_refused(prompt: int, output: int, says: str) -> None:
    scheduler = Scheduler(spec_of(pages=7))
    with pytest.raises(ValueError, match=says):
        scheduler.add(Sequence(prompt, output))
    assert scheduler.is_idle


def test_limits_under_which_nothing_can_decode_are_refused() -> None:
    with pytest.raises(ValueError, match="decode"):
        Scheduler(spec_of(max_num_batched_tokens=2, mtp_depth=2))


@pytest.mark.parametrize("ahead", [0, 1])
def test_who_comes_while_a_step_runs_misses_the_one_that_is_decided(ahead: int) -> None:
    scheduler = Scheduler(spec_of(steps_ahead=ahead))
    add(scheduler, (10, 5))
    first = step_of(scheduler)
    assert len(first.prefills) == 1  # an idle engine begins at once
    (late,) = add(scheduler, (10, 5))
    scheduler.finish(first)
    for _ in range(ahead):
        decided = step_of(scheduler)
        assert not decided.prefills
        scheduler.finish(decided)
    assert step_of(scheduler).prefills == [(late, 10)]


def test_one_that_lost_its_pages_is_no_newcomer() -> None:
    """It comes back as soon as there is room, steps decided ahead or not."""
    steps = [
        run_to_end(_with(Scheduler(spec_of(pages=6, page_tokens=4, steps_ahead=ahead))))
        for ahead in (0, 1)
    ]
    assert steps[1] == steps[0]


def _with(scheduler: Scheduler) -> Scheduler:
    add(scheduler, (8, 8), (4, 6))
    return scheduler
