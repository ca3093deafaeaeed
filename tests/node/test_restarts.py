from __future__ import annotations

from headrace.node.job import RestartSpec
from headrace.node.restarts import CrashBudget

SPEC = RestartSpec(crashes=3, backoff_s=1.0, backoff_most_s=3.0, stable_s=60.0)


def test_the_wait_doubles_up_to_a_limit_and_then_it_is_given_up():
    budget = CrashBudget(SPEC)
    assert [budget.crashed(float(n)) for n in range(4)] == [1.0, 2.0, 3.0, None]
    assert budget.total == 3


def test_a_minute_of_service_begins_a_new_row():
    budget = CrashBudget(SPEC)
    budget.crashed(0.0)
    budget.ready(10.0)
    assert budget.crashed(69.0) == 2.0
    budget.ready(70.0)
    budget.ready(100.0)
    assert budget.crashed(130.0) == 1.0
