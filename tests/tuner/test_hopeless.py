from pathlib import Path
from typing import Literal

from headrace.loadgen.progress import Progress
from headrace.tuner.counters import Counters, Reading, rates
from headrace.tuner.hopeless import Hopeless


def reading(at_s: float, tok_s: float) -> Reading:
    """Counters that grow by `tok_s`, a third of it generated."""
    tokens = round(at_s * tok_s)
    return Reading(at_s, 8, 0, 0.5, 2 * tokens // 3, tokens // 3, 0, 0, 0)


def progress(at_s: float, state: Literal["warming up", "measuring"] = "measuring") -> Progress:
    return Progress(state, at_s, 0.5, 0.0, 8, 0, 0)


def watching(best_tok_s: float | None, tok_s: float, tmp_path: Path) -> Hopeless:
    made = Hopeless(best_tok_s)
    made.counters = Counters([], tmp_path / "engine.jsonl")
    made.counters.readings = [reading(float(second), tok_s) for second in range(40)]
    return made


def test_rates_of_the_last_seconds():
    found = rates([reading(0, 900), reading(5, 900), reading(10, 900)], 5.0)
    assert found is not None
    assert found.total_tok_s == 900
    assert found.output_tok_s == 300
    assert rates([reading(3, 900)], 5.0) is None
    assert rates([], 5.0) is None


def test_far_behind_the_best_is_given_up_after_the_warm_up(tmp_path: Path):
    slow = watching(1000.0, 800.0, tmp_path)
    assert not slow.seen(progress(20.0, "warming up"))
    assert not slow.seen(progress(21.0))
    assert not slow.seen(progress(25.0))
    assert slow.seen(progress(31.0))
    assert slow.rate is not None
    assert abs(slow.behind - 0.2) < 0.01


def test_near_the_best_goes_on(tmp_path: Path):
    near = watching(1000.0, 970.0, tmp_path)
    assert not any(near.seen(progress(float(second))) for second in range(10, 40))


def test_the_first_trial_is_never_given_up(tmp_path: Path):
    first = watching(None, 1.0, tmp_path)
    assert not any(first.seen(progress(float(second))) for second in range(10, 40))
