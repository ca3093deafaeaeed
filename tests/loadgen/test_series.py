"""Sweeps and the search, on a server whose limit is known."""

from pathlib import Path
from typing import Any

import pytest

from headrace.errors import InputError
from headrace.loadgen.presets import inferencemax
from headrace.loadgen.series import Runner, at_load, find_highest, finished, sweep
from headrace.loadgen.spec import BenchSpec, make_spec
from headrace.loadgen.summary import Summary
from headrace.spec.lengths import Fixed, Uniform
from tests.loadgen.test_figures import STEADY, records
from tests.loadgen.test_input import VALUES


class Server:
    """Meets the goals up to `limit` in flight; counts how often it is measured."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.loads: list[float] = []

    def measure(self, spec: BenchSpec, folder: Path) -> Summary:
        from headrace.loadgen.run import summarize
        from headrace.loadgen.window import find_window

        load = spec.concurrency or spec.request_rate or 0.0
        self.loads.append(load)
        found = records(*STEADY)
        if load > self.limit:
            found.rows["first_token_s"] += 0.9
            found.rows["last_token_s"] += 0.9
        window = find_window(found, 3.0, None, 9.0)
        plain = make_spec(**{**VALUES, "concurrency": 2, "requests": 2})
        made = summarize(plain, found, window, "unknown", [], {})
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(made.model_dump_json())
        return made


def runner(tmp_path: Path, server: Server, axis: Any = "concurrency", **options: Any) -> Runner:
    load = {"concurrency": 8} if axis == "concurrency" else {"request_rate": 8.0}
    values = {**VALUES, "concurrency": None, **load, "slo": {"ttft_p99_ms": 1500.0}}
    return Runner(make_spec(**values), axis, tmp_path, server.measure, **options)


@pytest.mark.parametrize("limit", [1, 5, 8, 13, 100])
def test_the_search_finds_the_limit_and_nothing_above_it(tmp_path: Path, limit: int) -> None:
    series = find_highest(runner(tmp_path, Server(limit)), 8.0)
    assert series.best_load is not None
    assert series.best_load <= limit
    assert series.best_load >= limit - max(1, 0.06 * limit)


def test_the_search_over_rates(tmp_path: Path) -> None:
    series = find_highest(runner(tmp_path, Server(3.3), "rate"), 8.0)
    assert series.best_load == pytest.approx(3.3, rel=0.06)


def test_no_load_is_low_enough(tmp_path: Path) -> None:
    series = find_highest(runner(tmp_path, Server(0)), 8.0)
    assert series.best_load is None
    assert series.complete


def test_a_search_needs_goals(tmp_path: Path) -> None:
    spec = make_spec(**VALUES)
    with pytest.raises(InputError, match="expected a goal"):
        find_highest(Runner(spec, "concurrency", tmp_path, Server(9).measure), 8.0)


def test_a_sweep_goes_on_where_it_was_left(tmp_path: Path) -> None:
    server = Server(9)
    sweep(runner(tmp_path, server), [4.0, 8.0])
    series = sweep(runner(tmp_path, server, resume=True), [4.0, 8.0, 16.0])
    assert server.loads == [4, 8, 16]
    assert [point.met for point in series.points] == [True, True, False]
    assert (series.best_load, series.complete) == (8.0, True)
    assert (tmp_path / "sweep.json").exists()


def test_an_interrupted_measurement_is_not_finished(tmp_path: Path) -> None:
    made = Server(9).measure(make_spec(**VALUES), tmp_path / "a")
    assert finished(tmp_path / "a") == made
    cut = made.model_copy(update={"invalid_reasons": ["interrupted"]})
    (tmp_path / "a" / "summary.json").write_text(cut.model_dump_json())
    assert finished(tmp_path / "a") is None
    assert finished(tmp_path / "b") is None


def test_requests_grow_with_the_concurrency() -> None:
    spec = make_spec(**{**VALUES, "concurrency": 4, "requests": 40})
    assert at_load(spec, "concurrency", 16).requests == 160
    assert at_load(spec, "rate", 2.5).request_rate == 2.5


def test_no_load_is_below_what_follows_together(tmp_path: Path) -> None:
    several = make_spec(**{**VALUES, "concurrency": 8, "refill": 4, "slo": {"ttft_p99_ms": 1.0}})
    with pytest.raises(InputError, match="more than the 2 requests in flight"):
        at_load(several, "concurrency", 2)
    server = Server(0)
    find_highest(Runner(several, "concurrency", tmp_path, server.measure), 8.0)
    assert min(server.loads) == 4


def test_inferencemax() -> None:
    changes = inferencemax(Fixed(tokens=1024), Fixed(tokens=8192), 64)
    assert changes["input_tokens"] == Uniform(low=819, high=1024)
    assert (changes["requests"], changes["start"]) == (640, "together")
    with pytest.raises(InputError, match="--concurrency"):
        inferencemax(Fixed(tokens=1), Fixed(tokens=1), None)
