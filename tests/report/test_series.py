from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.report.series import (
    cdf,
    histogram,
    in_flight,
    natural_key,
    replica_shares,
    shared_grid,
    spread,
    spread_rate,
    time_edges,
)

spans = st.lists(
    st.tuples(st.floats(0, 90), st.floats(0, 10), st.integers(1, 4096)), min_size=1, max_size=20
)


def columns(rows):
    begin, length, amount = (np.array(c, float) for c in zip(*rows, strict=True))
    return begin, begin + length, amount


def test_a_rate_is_exact_where_a_span_covers_part_of_a_bin():
    rate = spread_rate(np.array([0.5]), np.array([2.5]), np.array([100.0]), np.arange(4.0))
    assert rate == pytest.approx([25, 50, 25])


@given(spans)
def test_nothing_is_lost_between_the_bins(rows):
    begin, end, amount = columns(rows)
    edges = time_edges(101.0)
    rate = spread_rate(begin, end, amount, edges)
    assert (rate * np.diff(edges)).sum() == pytest.approx(amount.sum(), rel=1e-4)


@given(spans)
def test_in_flight_is_what_counting_finds(rows):
    begin, end, _ = columns(rows)
    edges = np.array([0.0, 50.0, 101.0])
    overlap = [
        np.maximum(np.minimum(end, high) - np.maximum(begin, low), 0).sum() / (high - low)
        for low, high in pairwise(edges)
    ]
    assert in_flight(begin, end, edges) == pytest.approx(overlap, abs=1e-4)


def test_rows_without_times_are_left_out():
    nan = np.nan
    rate = spread_rate(
        np.array([0, nan, 0]), np.array([1, 1, nan]), np.full(3, 7.0), np.arange(2.0)
    )
    assert rate == pytest.approx([7])


@pytest.mark.parametrize("end_s", [0.004, 0.9, 60.2, 85.6, 3600, 1e6])
def test_edges_are_few_and_reach_from_zero_to_the_end(end_s):
    edges = time_edges(end_s)
    assert edges[0] == 0
    assert edges[-1] == end_s
    assert len(edges) <= 152
    assert (np.diff(edges) > 0).all()


def test_a_straggler_is_counted_but_does_not_stretch_the_histogram():
    bins = histogram(np.append(np.linspace(10, 20, 5000), 1e6))
    assert bins is not None
    assert bins.shares.sum() == pytest.approx(1)
    assert bins.centres[-1] < 21


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [5.0, 5.0, 5.0]])
def test_equal_values_make_a_histogram_too(values):
    bins = histogram(np.array(values))
    assert bins is not None
    assert bins.shares.max() == 1
    assert (np.diff(bins.centres) > 0).all()


def test_no_values_no_histogram():
    assert histogram(np.array([np.nan])) is None
    assert len(shared_grid([np.zeros(0), np.array([np.nan])])) == 0


def test_cdf_rises_to_one_over_a_shared_grid():
    samples = [np.arange(1.0, 101.0), np.arange(51.0, 151.0)]
    grid = shared_grid(samples)
    low, high = (cdf(sample, grid) for sample in samples)
    assert (np.diff(low) >= 0).all()
    assert low[-1] == 1
    assert (low >= high).all()
    assert np.isnan(cdf(np.zeros(0), grid)).all()


def test_replicas_are_counted_in_natural_order():
    names = np.array(["r10", "r2", "", "r2"], object)
    nan = np.nan
    rows = replica_shares(
        names, np.array([5, 3, 9, 4.0]), np.array([10, 20, 1, nan]), np.array([nan, 4, 1, 6.0])
    )
    assert [(r.id, r.completed, r.output_tokens) for r in rows] == [("r2", 2, 7), ("r10", 1, 5)]
    assert (rows[0].ttft_ms, rows[0].tpot_ms) == (20, 5)
    assert np.isnan(rows[1].tpot_ms)


def test_natural_order_is_by_the_number_at_the_end():
    names = ["r10", "b", "r9", "node2-r1"]
    assert sorted(names, key=natural_key) == ["b", "node2-r1", "r9", "r10"]


def test_spread_is_even_at_zero_deviation():
    even, uneven = spread([4, 4]), spread([0, 8])
    assert even is not None
    assert uneven is not None
    assert (even.deviation, uneven.deviation) == (0, 1)
    assert spread([]) is spread([0, 0]) is None
