from __future__ import annotations

from headrace.engines.simulated.metrics import STEP_TOKENS, Histogram, token_buckets


def test_a_value_on_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    histogram.observe(2.0, times=3)
    assert histogram.buckets() == [("1.0", 2.0), ("2.0", 6.0), ("+Inf", 7.0)]
    assert histogram.total == 18.0


def test_token_buckets_reach_up_to_the_context() -> None:
    assert token_buckets(120) == (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def test_step_buckets_are_powers_of_two() -> None:
    assert STEP_TOKENS[:3] == (1.0, 8.0, 16.0)
    assert STEP_TOKENS[-1] == 16384.0
