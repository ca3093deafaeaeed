import pytest

from headrace.spec.slo import GOAL_FIELDS, Slo, goals_of, strictest


def test_every_field_is_a_goal() -> None:
    assert set(Slo.model_fields) == set(GOAL_FIELDS)


def test_stated_goals_in_words() -> None:
    slo = Slo(ttft_p50_ms=200, tpot_p99_ms=60, e2e_p95_ms=30_000)
    assert [goal.words for goal in slo.goals()] == ["TTFT p50", "TPOT p99", "e2e p95"]
    assert goals_of(slo.limits()) == slo.goals()
    assert Slo().goals() == ()


def test_a_request_is_judged_by_the_highest_percentile_of_each_metric() -> None:
    limits = {"ttft_p99_ms": 900.0, "ttft_p50_ms": 100.0, "tpot_p90_ms": 50.0}
    assert strictest(limits) == {"ttft": 900.0, "tpot": 50.0}


def test_an_unknown_goal() -> None:
    with pytest.raises(KeyError):
        goals_of({"ttft_p42_ms": 1})
