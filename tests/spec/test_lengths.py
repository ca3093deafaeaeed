"""Distributions of lengths: their moments, their tables, and how they are written."""

from collections import Counter
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, PositiveInt

from headrace.errors import InputError
from headrace.spec.lengths import (
    AnyLengths,
    Empirical,
    Fixed,
    Lengths,
    LogNormal,
    Normal,
    Uniform,
    as_lengths,
    parse_lengths,
)


def test_a_number_is_a_fixed_length() -> None:
    assert set(as_lengths(7).table(16)) == {7}
    assert as_lengths(7).mean == 7
    assert as_lengths(Normal(mean_tokens=3, stdev_tokens=1)).mean == pytest.approx(3, abs=0.05)


def test_uniform_lengths_are_equally_frequent() -> None:
    lengths = Uniform(low=3, high=6)
    assert Counter(lengths.table(400)) == {3: 100, 4: 100, 5: 100, 6: 100}
    assert lengths.mean == 4.5


@pytest.mark.parametrize("kind", [Normal, LogNormal])
def test_moments_are_those_of_the_lengths(kind: type[Normal | LogNormal]) -> None:
    table = kind(mean_tokens=1000, stdev_tokens=300).table()
    assert fmean(table) == pytest.approx(1000, rel=0.002)
    assert pstdev(table) == pytest.approx(300, rel=0.02)


def test_log_normal_lengths_lean_to_the_long_side() -> None:
    lengths = LogNormal(mean_tokens=1000, stdev_tokens=1000)
    assert lengths.quantile(0.5) == pytest.approx(707, abs=1)
    assert lengths.longest > 10_000


def test_clipping() -> None:
    table = Normal(mean_tokens=10, stdev_tokens=10, low=4, high=12).table()
    assert (min(table), max(table)) == (4, 12)
    assert min(Normal(mean_tokens=10, stdev_tokens=10).table()) == 1


def test_measured_lengths_keep_their_frequencies() -> None:
    assert Counter(Empirical(values=[9, 5, 5, 5]).table(8)) == {5: 6, 9: 2}
    assert Counter(Empirical(values=[5, 9], weights=[3, 1]).table(8)) == {5: 6, 9: 2}
    assert Empirical(values=[5, 9]).mean == 7


@given(
    st.sampled_from(
        [
            Fixed(tokens=5),
            Uniform(low=1, high=99),
            Normal(mean_tokens=50, stdev_tokens=80),
            LogNormal(mean_tokens=50, stdev_tokens=80),
            Empirical(values=[3, 1, 2], weights=[1, 2, 3]),
        ]
    ),
    st.floats(0.001, 0.999),
    st.floats(0.001, 0.999),
)
def test_quantiles_ascend_and_are_positive(lengths: AnyLengths, one: float, other: float) -> None:
    low, high = sorted([one, other])
    assert 1 <= lengths.quantile(low) <= lengths.quantile(high)


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("1024", Fixed(tokens=1024)),
        ("uniform:10-20", Uniform(low=10, high=20)),
        ("normal:100,20", Normal(mean_tokens=100, stdev_tokens=20)),
        ("lognormal:100,20.5", LogNormal(mean_tokens=100, stdev_tokens=20.5)),
        ("empirical:1,2,2", Empirical(values=[1, 2, 2])),
    ],
)
def test_lengths_as_typed(text: str, lengths: AnyLengths) -> None:
    assert parse_lengths(text, "--input-tokens") == lengths


@pytest.mark.parametrize(
    "text",
    ["0", "-3", "x", "", "uniform:5", "uniform:9-3", "normal:5", "zipf:3", "empirical:", "1.5"],
)
def test_what_is_no_length_says_what_is(text: str) -> None:
    with pytest.raises(InputError, match="--output-tokens") as caught:
        parse_lengths(text, "--output-tokens")
    assert "lognormal:MEAN,STDEV" in (caught.value.hint or "")


def test_in_a_model_a_number_or_a_mapping() -> None:
    class Load(BaseModel):
        tokens: PositiveInt | Lengths

    assert Load(tokens=5).tokens == 5
    told = {"distribution": "uniform", "low": 1, "high": 3}
    assert Load.model_validate({"tokens": told}).tokens == Uniform(low=1, high=3)
