"""The published scaling table, simulated (Qwen3.5-27B-FP8 on nodes of eight B200, vLLM 0.18.0)."""

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.cli.plan import plan_for
from headrace.simulator import questions
from headrace.simulator.case import Case, case_of
from headrace.spec.load import load_fleet
from headrace.spec.recipes import recipe_path

pytestmark = pytest.mark.compute

pytest.importorskip("numba", reason="without the quick core it takes minutes")


@pytest.fixture(scope="module")
def case() -> Case:
    path = Path(recipe_path("qwen35-27b-b200x96-published"))
    return case_of(plan_for(load_fleet(path)))


def silent(what: str) -> None:
    pass


def test_every_row_within_two_percent(case):
    assert questions.is_published_case(case)
    rows = questions.published_scaling(case, [1, 2, 4, 8, 12], 60.0, silent)
    for row in rows:
        assert row.total_tok_s == pytest.approx(questions.PUBLISHED[row.nodes], rel=0.02)


def test_the_loss_is_the_thinner_load(case):
    rows = questions.causes(case, 60.0, silent)
    thinner = next(row for row in rows if "16,000" in row.cause)
    assert thinner.points == pytest.approx(-3.5, abs=0.7)
    assert all(abs(row.points) < 0.7 for row in rows if row is not thinner)


def test_with_the_same_load_per_gpu_twelve_nodes_keep_99_percent(case):
    routed = replace(case.gateways, policy="least-request")
    full = replace(case, in_flight=183.0, gateways=routed, speed_spread=0.01)
    rows = questions.scaling(full, [1, 12], 60.0, silent)
    assert rows[1].efficiency > 0.99


def test_one_picker_costs_what_it_is_short_of(case):
    picker = questions.picker_of_65_percent(719.0)
    (row,) = questions.compare_policies(case, [("", picker)], 60.0, silent)
    assert row.figures.request_s == pytest.approx(0.65 * 719, rel=0.01)
