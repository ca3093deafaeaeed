"""Arrival processes: their rate, their spread, their ramps."""

from itertools import islice, pairwise
from statistics import fmean, pstdev

import pytest

from headrace.loadgen.arrivals import at_rate, offsets, ramped, steps


def spread(kind: str, burstiness: float = 1.0) -> tuple[float, float]:
    """Mean gap and its deviation over the mean, of 20,000 arrivals at 50 a second."""
    times = list(islice(offsets(steps(kind, "a", burstiness, 0, 1), at_rate(50.0)), 20_000))
    gaps = [after - before for before, after in pairwise(times)]
    return fmean(gaps), pstdev(gaps) / fmean(gaps)


@pytest.mark.parametrize(
    ("kind", "burstiness", "deviation"),
    [("poisson", 1.0, 1.0), ("constant", 1.0, 0.0), ("gamma", 4.0, 0.5), ("gamma", 0.25, 2.0)],
)
def test_rate_and_spread(kind: str, burstiness: float, deviation: float) -> None:
    mean, found = spread(kind, burstiness)
    assert mean == pytest.approx(1 / 50, rel=0.05)
    assert found == pytest.approx(deviation, abs=0.08)


def test_the_same_seed_gives_the_same_arrivals() -> None:
    assert spread("poisson") == spread("poisson")


def test_constant_workers_are_constant_together() -> None:
    each = [offsets(steps("constant", "", 1.0, w, 4), at_rate(25.0)) for w in range(4)]
    times = sorted(time for source in each for time in islice(source, 50))
    assert all(b - a == pytest.approx(0.01) for a, b in pairwise(times))


def test_a_ramp_has_the_area_of_its_trapezium() -> None:
    when = ramped(10.0, 30.0, over_s=5.0, hold_s=2.0)
    times = [when(count) for count in range(1, 161)]
    assert times[19] == pytest.approx(2.0)  # 20 while held at 10 a second
    assert times[119] == pytest.approx(7.0)  # 100 more on the way: (10 + 30) / 2 * 5
    assert times[149] == pytest.approx(8.0)  # 30 a second from there on
    assert all(b > a for a, b in pairwise(times))
    first, last = times[20] - times[19], times[119] - times[118]
    assert (first, last) == (pytest.approx(1 / 10, rel=0.05), pytest.approx(1 / 30, rel=0.05))


def test_a_ramp_may_fall_or_stand_still() -> None:
    assert ramped(30.0, 10.0, 5.0)(100) == pytest.approx(5.0)
    assert ramped(10.0, 10.0, 5.0)(25) == pytest.approx(2.5)
