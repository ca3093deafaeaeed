"""When refills come, by the formulas and by counting in a long run of random ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.perf.refill import Refill

CASES = [(1, 0.5), (2, 1.0), (3, 0.5), (3, 2.0), (8, 0.5)]


@given(st.floats(0.0, 40.0), st.sampled_from([1, 2, 3, 8, 600]))
def test_as_many_requests_follow_as_end(ended: float, size: int) -> None:
    chances = [Refill(size).chance(count, ended) for count in range(150 if size < 8 else 20)]
    assert sum(chances) == pytest.approx(1.0)
    follow = sum(size * count * chance for count, chance in enumerate(chances))
    assert follow == pytest.approx(ended)


def counted(size: int, ended: float) -> np.ndarray:
    """Refills in each of many steps, where ends come by chance."""
    ends = np.random.default_rng(1).poisson(ended, 400_000)
    return np.diff(np.cumsum(ends) // size, prepend=0)


@pytest.mark.parametrize(("size", "ended"), CASES)
def test_so_many_come_in_a_step(size: int, ended: float) -> None:
    found = counted(size, ended)
    for count in range(3):
        chance = Refill(size).chance(count, ended)
        assert chance == pytest.approx((found == count).mean(), abs=0.005)


@pytest.mark.parametrize(("size", "ended"), CASES)
def test_they_keep_a_distance(size: int, ended: float) -> None:
    """A step before a refill has another less often than steps have any, unless each is alone."""
    found = counted(size, ended)
    for steps in (1, 2, 3):
        weights = found[steps:]
        before = (weights * (found[:-steps] > 0)).sum() / weights.sum()
        due = Refill(size).due_before(steps, ended)
        assert due == pytest.approx(before, rel=0.06, abs=0.002)
    some = float((found > 0).mean())
    assert (Refill(size).due_before(1, ended) < 0.9 * some) is (size > 1)


@pytest.mark.parametrize(("size", "ended"), CASES)
def test_a_refill_is_in_a_fuller_step_than_the_mean(size: int, ended: float) -> None:
    found = counted(size, ended)
    own = np.repeat(found, found)
    one, two, mean = Refill(size).around_one(ended)
    assert one == pytest.approx((own == 1).mean(), abs=0.01)
    assert two == pytest.approx((own == 2).mean(), abs=0.01)
    assert mean == pytest.approx(own.mean(), abs=0.01)


@pytest.mark.parametrize(
    ("together", "replicas", "ended"), [(12, 4, 0.5), (8, 8, 4.0), (2, 8, 0.5), (5, 2, 1.0)]
)
def test_a_gateway_deals_more_to_one_replica_than_its_share(
    together: int, replicas: int, ended: float
) -> None:
    """Whose own prompt is in a step finds more beside it than a step has on average."""
    rng = np.random.default_rng(2)
    here = rng.binomial(together * counted(together, replicas * ended), 1 / replicas)
    dealt = Refill(together, dealt_over=replicas)
    assert dealt.size == max(1, round(together / replicas))
    assert dealt.prompts_dealt(ended) == pytest.approx((here**2).sum() / here.sum(), rel=0.02)


def test_nothing_ends() -> None:
    assert Refill(3).around_one(0.0) == (1, 0, 1)
    assert Refill(3).due_before(1, 0.0) == 0
