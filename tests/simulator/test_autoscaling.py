import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.simulator.autoscaling import Autoscaler, Observation, ScalingPolicy

POLICY = ScalingPolicy(least=2, most=20, target_in_flight=100, hold_down_s=300)


def see(scaler: Autoscaler, at_s: float, in_flight: float, ready: int, starting: int = 0) -> int:
    return scaler.decide(Observation(at_s, ready, starting, in_flight)).replicas


def test_grows_to_what_the_load_needs_at_once():
    assert see(Autoscaler(POLICY), 0, 950, ready=4) == 10


def test_replicas_on_their_way_are_not_ordered_twice():
    assert see(Autoscaler(POLICY), 0, 950, ready=4, starting=6) == 10


def test_near_the_target_nothing_changes():
    assert see(Autoscaler(POLICY), 0, 1080, ready=10) == 10
    assert see(Autoscaler(POLICY), 0, 1110, ready=10) == 12


def test_shrinks_only_when_the_load_has_been_low_for_the_whole_window():
    scaler = Autoscaler(POLICY)
    assert see(scaler, 0, 1000, ready=10) == 10
    assert see(scaler, 150, 300, ready=10) == 10
    assert see(scaler, 299, 300, ready=10) == 10
    assert see(scaler, 301, 300, ready=10) == 3


def test_limits_win():
    assert see(Autoscaler(POLICY), 0, 0, ready=1) == 2
    assert see(Autoscaler(POLICY), 0, 1e9, ready=1) == 20
    assert see(Autoscaler(POLICY), 0, 2000, ready=25) == 20


def test_a_rise_is_extrapolated_over_the_start_time():
    policy = ScalingPolicy(least=1, most=50, target_in_flight=100, horizon_s=60, trend_s=60)
    scaler = Autoscaler(policy)
    see(scaler, 0, 500, ready=5)
    assert see(scaler, 30, 1000, ready=5) == 20


def test_spare_replicas_come_on_top():
    policy = ScalingPolicy(least=1, most=50, target_in_flight=100, spare=2)
    assert see(Autoscaler(policy), 0, 1000, ready=10) == 12
    assert see(Autoscaler(policy), 0, 1000, ready=12) == 12


def test_a_decision_adds_no_more_than_it_may():
    policy = ScalingPolicy(least=1, most=50, target_in_flight=100, most_added=3)
    assert see(Autoscaler(policy), 0, 4000, ready=10) == 13


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="least"):
        ScalingPolicy(least=3, most=2, target_in_flight=1)
    with pytest.raises(ValueError, match="target"):
        ScalingPolicy(least=1, most=2, target_in_flight=0)
    scaler = Autoscaler(POLICY)
    see(scaler, 10, 1, ready=1)
    with pytest.raises(ValueError, match="back"):
        see(scaler, 9, 1, ready=1)


@given(
    st.lists(st.tuples(st.floats(0, 60), st.floats(0, 1e5), st.integers(0, 30)), max_size=30),
)
def test_always_within_the_limits(steps):
    scaler, now_s = Autoscaler(POLICY), 0.0
    for pause_s, in_flight, ready in steps:
        now_s += pause_s
        assert POLICY.least <= see(scaler, now_s, in_flight, ready) <= POLICY.most
