import math

import pytest

from headrace.tuner.learn import Expectation, Learned, Point
from tests.tuner.options import setup

SETUP = setup()
FIRST = SETUP.first[0]
PREDICTED = SETUP.predictions(SETUP.constants)


def learned(*points: Point) -> Learned:
    return Learned(FIRST, SETUP.options, points, PREDICTED)


def with_depth(depth: int):
    return next(option for option in SETUP.options if option.levers["mtp_depth"] == depth)


def test_before_the_first_trial_it_is_the_performance_model():
    found = learned().expect(FIRST)
    assert found.tok_s == pytest.approx(FIRST.predicted_tok_s)
    assert found.sd == pytest.approx(0.2)


def test_an_error_that_all_share_is_learned_from_one_trial():
    after = learned(Point(FIRST, 0.7 * FIRST.predicted_tok_s))
    for option in SETUP.options:
        assert after.expect(option).tok_s == pytest.approx(0.7 * option.predicted_tok_s, rel=0.01)
    plain = with_depth(0)
    assert after.expect(FIRST).sd < after.expect(plain).sd < learned().expect(plain).sd


def test_a_second_trial_tells_the_lever_from_the_rest():
    plain, middle, deep = with_depth(0), with_depth(2), with_depth(5)
    points = [Point(plain, plain.predicted_tok_s), Point(deep, 0.5 * deep.predicted_tok_s)]
    after = learned(*points)
    assert after.expect(plain).tok_s == pytest.approx(plain.predicted_tok_s, rel=0.02)
    assert after.expect(deep).tok_s == pytest.approx(0.5 * deep.predicted_tok_s, rel=0.05)
    assert 0.5 < after.expect(middle).tok_s / middle.predicted_tok_s < 1.0


def test_a_rough_figure_weighs_less():
    exact = learned(Point(FIRST, 2 * FIRST.predicted_tok_s)).expect(FIRST)
    rough = learned(Point(FIRST, 2 * FIRST.predicted_tok_s, rough=True)).expect(FIRST)
    assert rough.tok_s < exact.tok_s
    assert rough.sd > exact.sd


def test_expected_gain_grows_with_the_median_and_with_doubt():
    assert Expectation(100.0, 0.0).gain_over(110.0) == 0
    assert Expectation(120.0, 0.0).gain_over(100.0) == pytest.approx(math.log(1.2))
    sure, unsure = Expectation(100.0, 0.01), Expectation(100.0, 0.1)
    assert 0 < sure.gain_over(100.0) < unsure.gain_over(100.0)
    assert unsure.gain_over(0.0) == math.inf
