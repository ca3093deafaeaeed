"""A measured search on the simulated engine, whose steps are not what the plan believes."""

from pathlib import Path

import pytest

from headrace.cli.plan import plan_for
from headrace.loadgen.progress import Progress
from headrace.planner.plan import Plan
from headrace.report.data import load_run
from headrace.spec.fleet import Fleet
from headrace.spec.load import load_fleet
from headrace.tuner.learn import Expectation
from headrace.tuner.outcome import Outcome, outcome, write_fleet
from headrace.tuner.search import Rules, Search
from headrace.tuner.space import Option
from headrace.tuner.trial import Trial, read_trials
from tests.tuner.options import setup

pytestmark = [pytest.mark.integration, pytest.mark.alone]
SLOW_DRAFTS = 150.0


def mistaken(fleet: Fleet) -> Plan:
    """The plan as it is; the engine that it starts takes far longer to draft."""
    plan = plan_for(fleet)
    step = dict(plan.simulation["step"])
    for name in ("draft_s", "draft_s_per_sequence"):
        step[name] *= SLOW_DRAFTS
    return plan.model_copy(update={"simulation": {**plan.simulation, "step": step}})


class Quiet:
    def trying(self, number: int, option: Option, expected: Expectation) -> None: ...
    def phase(self, phase: str) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def tried(self, trial: Trial) -> None: ...


def search(folder: Path, trials: int) -> Search:
    """Goes on where the folder's trials end."""
    rules = Rules(budget_s=300.0, window_s=5.0, max_trials=trials)
    return Search(setup(), folder, mistaken, lambda _: [], rules, Quiet(), read_trials(folder))


def summed_up(done: Search, ended: str) -> Outcome:
    return outcome(done, ended, done.folder / "tuned.yaml")


def test_a_search_finds_what_the_plan_got_wrong_and_can_be_resumed(tmp_path: Path):
    first = search(tmp_path, 1)
    assert first.run() == "1 trials were asked for"
    begun_with = first.trials[0].levers["mtp_depth"]
    assert begun_with > 0

    resumed = search(tmp_path, 8)
    found = summed_up(resumed, resumed.run())
    assert [trial.number for trial in found.trials] == list(range(len(found.trials)))
    assert found.trials == read_trials(tmp_path)
    assert found.engine == "simulated"
    assert found.best is not None
    assert found.ratio is not None
    assert found.best.levers["mtp_depth"] == 0
    assert found.best.predicted_tok_s < found.trials[0].predicted_tok_s
    assert found.ratio > 1.05

    drafting = next(row for row in found.levers if row.instead == begun_with)
    assert drafting.how == "measured"
    assert drafting.predicted_gain is not None
    assert drafting.predicted_gain < 0 < drafting.measured_gain

    option = resumed.setup.by_key()[found.best.key]
    write_fleet(option, found.best, tmp_path / "tuned.yaml")
    kept = plan_for(load_fleet(tmp_path / "tuned.yaml"))
    assert kept.chosen.engine_args == option.fleet.engine.args
    run = load_run(tmp_path / found.best.folder)
    assert run.simulated
    assert run.records is not None
