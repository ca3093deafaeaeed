"""Prompts in steps with limited room: the formulas against the queue itself, step by step."""

import math
import random
from itertools import accumulate
from statistics import fmean

import pytest

from headrace.perf.chunks import Chunks, tail

STEPS = 200_000


def played(size: float, started: float) -> tuple[float, list[float]]:
    """Share of steps with a prompt, and what each finds before itself once its step is over.

    By chance so many come in a step (Poisson); all room of a step goes to who came first.
    """
    chance = random.Random(1)
    gaps = (chance.expovariate(started) for _ in range(int(STEPS * started)))
    arrivals = [0] * STEPS
    for at in accumulate(gaps):
        if at < STEPS:
            arrivals[int(at)] += 1
    left, with_prompts, queues = 0.0, 0, []
    for come in arrivals:
        with_prompts += left > 0
        left = max(0.0, left - 1)
        for _ in range(come):
            queues.append(left)
            left += size
    return with_prompts / STEPS, queues


@pytest.mark.parametrize(
    ("size", "started"),
    [(1.008, 0.1), (1.008, 0.5), (1.5, 0.2), (1.5, 0.5), (4.2, 0.1), (4.2, 0.2)],
)
def test_long_prompts_by_chance(size: float, started: float):
    chunks = Chunks(size)
    share, queues = played(size, started)
    found = chunks.busy(started)
    assert found == pytest.approx(share, rel=0.06)
    assert chunks.queue(started) == pytest.approx(fmean(queues), rel=0.15)
    late = sorted(queues)[int(0.99 * len(queues))]
    assert chunks.queue(started) * tail(found) == pytest.approx(late, rel=0.35, abs=1)


def test_a_prompt_of_the_budgets_size_takes_two_steps_unless_others_follow():
    chunks = Chunks(1.01)
    assert chunks.alone == 2
    assert chunks.taken(0.0) == 2
    assert chunks.taken(1.0) == pytest.approx(1.01)


def test_prompts_that_a_step_has_room_for_take_their_share_of_it():
    chunks = Chunks(0.125)
    assert chunks.busy(4.0) == pytest.approx(0.5)
    assert chunks.taken(0.3) == 0.125


def test_where_lengths_vary_half_of_the_last_step_is_empty_and_the_queue_is_longer():
    assert Chunks(2.2, variation=1.0).alone == pytest.approx(2.7)
    assert Chunks(2.2, variation=1.0).queue(0.3) > 1.5 * Chunks(2.2).queue(0.3)


def test_a_closed_loop_queues_less_and_never_without_end():
    chunks = Chunks(1.5)
    assert chunks.queue(0.6, requests=10) < chunks.queue(0.6, requests=1000)
    assert chunks.queue(0.6, requests=1000) < chunks.queue(0.6)
    assert chunks.queue(1 / 1.5, requests=10) < 10
    assert chunks.queue(1 / 1.5) > 1e6


def test_the_budget_is_used_up_at_most():
    assert Chunks(1.5).busy(10.0) == 1.0
    assert Chunks(1.5).busy(1e-9) == pytest.approx(2e-9)
    assert tail(0.005) == 0.0
    assert tail(1.0) == pytest.approx(math.log(100))
