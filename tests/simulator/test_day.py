"""A day of changing load, followed by the autoscaler."""

from pathlib import Path

import pytest

from headrace.cli.plan import plan_for
from headrace.simulator.case import case_of
from headrace.simulator.day import TYPICAL, day
from headrace.spec.load import load_fleet
from headrace.spec.recipes import recipe_path

pytestmark = pytest.mark.compute

pytest.importorskip("numba", reason="without the quick core it takes minutes")


def test_the_autoscaler_follows_a_day_without_flapping():
    path = Path(recipe_path("qwen35-27b-b200x96-published"))
    case = case_of(plan_for(load_fleet(path)))
    rows, events, outcome = day(case, tuple(20 * x for x in TYPICAL), 240.0, 1, lambda _: None)
    changes = [event for event in events if "scale " in event.what]
    assert 2 <= len(changes) <= 8
    assert all(row.failed == 0 for row in rows)
    assert all(row.tpot_p99_ms is not None and row.tpot_p99_ms < 60 for row in rows)
    assert outcome.paid_replica_s < 24 * 3600 * 4
