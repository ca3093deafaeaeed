import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.simulator.autoscaling import Autoscaler, Observation, ScalingPolicy

POLICY = ScalingPolicy(least=2, most=20, target_in_flight=100, slows=0, hold_down_s=300)


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
    policy = ScalingPolicy(
        least=1, most=50, target_in_flight=100, slows=0, horizon_s=60, trend_s=60
    )
    scaler = Autoscaler(policy)
    see(scaler, 0, 500, ready=5)
    assert see(scaler, 30, 750, ready=5) == 8
    assert see(scaler, 60, 1000, ready=5) == 15


def test_a_rise_that_the_fleet_made_itself_is_none():
    policy = ScalingPolicy(
        least=1, most=50, target_in_flight=100, slows=0, horizon_s=600, trend_s=60, hold_down_s=0
    )
    scaler = Autoscaler(policy)
    assert see(scaler, 0, 800, ready=10) == 8
    for at_s, in_flight in ((30, 820), (60, 840), (75, 840)):
        assert see(scaler, at_s, in_flight, ready=8) == 8


def test_a_falling_load_is_followed_in_steps():
    policy = ScalingPolicy(least=1, most=50, target_in_flight=100, slows=0, hold_down_s=60)
    scaler, ready, changes = Autoscaler(policy), 40, 0
    for minute in range(120):
        wanted = see(scaler, 60.0 * minute, 4000 - 25 * minute, ready)
        changes += wanted != ready
        ready = wanted
    assert ready <= 12
    assert changes <= 15


def test_a_peak_shorter_than_the_window_starts_nothing():
    scaler = Autoscaler(
        ScalingPolicy(least=1, most=50, target_in_flight=100, slows=0, hold_up_s=60)
    )
    seen = [(0, 500), (30, 900), (60, 500), (90, 900), (120, 900), (150, 900), (180, 900)]
    counts = [see(scaler, at_s, in_flight, ready=5) for at_s, in_flight in seen]
    assert counts == [5, 5, 5, 5, 5, 9, 9]


def test_after_a_change_the_fleet_shrinks_only_when_it_has_cooled_down():
    policy = ScalingPolicy(
        least=1, most=50, target_in_flight=100, slows=0, hold_down_s=0, cooldown_s=120
    )
    scaler = Autoscaler(policy)
    assert see(scaler, 0, 1000, ready=5) == 10
    assert see(scaler, 60, 400, ready=10) == 10
    assert see(scaler, 90, 1500, ready=10) == 15
    assert see(scaler, 150, 400, ready=15) == 15
    assert see(scaler, 210, 400, ready=15) == 4


def test_spare_replicas_come_on_top():
    policy = ScalingPolicy(least=1, most=50, target_in_flight=100, slows=0, spare=2)
    assert see(Autoscaler(policy), 0, 1000, ready=10) == 12
    assert see(Autoscaler(policy), 0, 1000, ready=12) == 12


def test_a_decision_adds_no_more_than_it_may():
    policy = ScalingPolicy(least=1, most=50, target_in_flight=100, slows=0, most_added=3)
    assert see(Autoscaler(policy), 0, 4000, ready=10) == 13


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="least"):
        ScalingPolicy(least=3, most=2, target_in_flight=1)
    with pytest.raises(ValueError, match="tolerance"):
        ScalingPolicy(least=1, most=2, target_in_flight=1, tolerance=1.5)
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


def test_it_shrinks_to_what_will_be_in_flight_when_answers_are_slower():
    policy = ScalingPolicy(least=1, most=50, target_in_flight=100, hold_down_s=0, slows=1)
    in_flight, ready, counts = 450.0, 10, []
    for at_s in range(5):
        fewer = see(Autoscaler(policy), 60.0 * at_s, in_flight, ready)
        in_flight, ready = in_flight * ready / fewer, fewer
        counts.append(ready)
    assert counts == [7] * 5
    assert in_flight <= 7 * 100
