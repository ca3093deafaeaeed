from __future__ import annotations

import pytest

from headrace.scheduler.acceptance import Acceptance


def test_without_drafts_nothing_is_accepted() -> None:
    assert Acceptance(0, 0.8, 1).draw(3) == [0, 0, 0]
    assert Acceptance(4, 0.0, 1).draw(3) == [0, 0, 0]


def test_certain_acceptance_accepts_the_whole_draft() -> None:
    assert Acceptance(4, 1.0, 1).draw(2) == [4, 4]


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    one, same, other = (Acceptance(3, 0.6, seed).draw(200) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("depth", [1, 3])
def test_acceptance_stops_at_the_first_rejection(depth: int) -> None:
    """The share of draws that reach position i is p to the i."""
    acceptance = Acceptance(depth, 0.8, 7)
    draws = [n for _ in range(80) for n in acceptance.draw(500)]
    assert set(draws) == set(range(depth + 1))
    for position in range(1, depth + 1):
        share = sum(n >= position for n in draws) / len(draws)
        assert share == pytest.approx(0.8**position, abs=0.01)
