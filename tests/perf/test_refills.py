"""How many refills a step begins with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.perf.steady import _refills


@given(st.floats(0.0, 40.0), st.sampled_from([1, 2, 3, 8, 600]))
def test_as_many_requests_follow_as_end(ended: float, refill: int) -> None:
    chances = [_refills(count, ended, refill) for count in range(150 if refill < 8 else 20)]
    assert sum(chances) == pytest.approx(1.0)
    follow = sum(refill * count * chance for count, chance in enumerate(chances))
    assert follow == pytest.approx(ended)
