"""Late timers do not stretch the schedule, up to a bounded debt."""

from __future__ import annotations

import pytest

from headrace.engines.simulated.clock import MAX_DEBT_S, StepClock


def test_steps_follow_each_other_ideally_however_late_their_ends_are_noticed() -> None:
    clock = StepClock()
    clock.start(100.0)
    for number in range(1, 11):
        end_s = clock.begin(0.05)
        assert end_s == pytest.approx(100.0 + number * 0.05)
        clock.end(end_s + 0.01)
    assert clock.lag_sum_s == pytest.approx(0.1)
    assert clock.lag_max_s == pytest.approx(0.01)
    assert clock.given_up_s == 0.0
    assert clock.steps == 10


def test_after_idleness_the_schedule_begins_anew() -> None:
    clock = StepClock()
    clock.start(1.0)
    clock.end(clock.begin(0.5))
    clock.start(9.0)
    assert clock.begin(0.5) == 9.5


def test_a_long_stall_is_given_up_beyond_the_debt() -> None:
    clock = StepClock()
    clock.start(0.0)
    clock.begin(0.05)
    clock.end(3.05)
    assert clock.lag_max_s == pytest.approx(3.0)
    assert clock.given_up_s == pytest.approx(3.0 - MAX_DEBT_S)
    assert clock.begin(0.05) == pytest.approx(3.05 - MAX_DEBT_S + 0.05)


def test_an_early_timer_is_no_negative_lag() -> None:
    clock = StepClock()
    clock.start(0.0)
    clock.end(clock.begin(0.05) - 0.001)
    assert clock.lag_sum_s == 0.0
    assert clock.begin(0.05) == pytest.approx(0.1)
