"""What a search found: the best, lever by lever, and the fleet file to keep. `tune.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from headrace.files import replace_file
from headrace.runs import fleet_text
from headrace.tuner.search import FOLLOWS, Search
from headrace.tuner.space import Option
from headrace.tuner.trial import Trial


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LeverGain(_Part):
    """What the best's value of one lever brings against another value that was tried."""

    lever: str
    instead: Any
    best: Any
    predicted_gain: float | None
    """By the performance model before the search, as a share; None where it knows no such lever."""
    measured_gain: float
    how: Literal["measured", "rough", "fitted"]
    """Rough: against a trial that was stopped early. Fitted: no pair of trials differs in this
    lever alone, so all trials together say it."""


class Outcome(_Part):
    """`tune.json`."""

    ended: str
    """Why the search ended."""
    engine: str
    baseline: Trial | None
    """The trial that the others are compared with: the baseline file's, or the plan's choice."""
    best: Trial | None
    ratio: float | None
    """Measured total tok/s, best over baseline."""
    levers: list[LeverGain]
    trials: list[Trial]
    fleet_file: str | None


def outcome(search: Search, ended: str, fleet_file: Path) -> Outcome:
    """Sum up a search. The fleet file is named, not written (`write_fleet`)."""
    best = search.best()
    baseline = next((t for t in search.trials if t.key == search.setup.first[0].key), None)
    ratio = None
    if best and baseline and best.measured_tok_s and baseline.measured_tok_s:
        ratio = best.measured_tok_s / baseline.measured_tok_s
    return Outcome(
        ended=ended,
        engine=next((t.engine for t in search.trials if t.engine), ""),
        baseline=baseline,
        best=best,
        ratio=ratio,
        levers=gains(search, best) if best else [],
        trials=search.trials,
        fleet_file=str(fleet_file) if best else None,
    )


def gains(search: Search, best: Trial) -> list[LeverGain]:
    """A row for every other value of every lever that was tried, the largest gain first."""
    rows = []
    for lever, own in best.levers.items():
        if lever in FOLLOWS:
            continue
        values = {str(t.levers[lever]): t.levers[lever] for t in search.trials if lever in t.levers}
        rows += [_gain(search, best, lever, v) for v in values.values() if v != own]
    return sorted((row for row in rows if row), key=lambda row: -row.measured_gain)


def _gain(search: Search, best: Trial, lever: str, value: Any) -> LeverGain | None:
    wanted = _without_follows({**best.levers, lever: value})
    same = [o for o in search.setup.by_key().values() if _without_follows(o.levers) == wanted]
    if not same or not best.measured_tok_s:
        return None
    other = max(same, key=lambda option: option.predicted_tok_s)
    pair = _measured(search.trials, same)
    tok_s = pair.measured_tok_s if pair else search.learned().expect(other).tok_s
    if not tok_s:
        return None
    predicted = best.predicted_tok_s / other.predicted_tok_s - 1
    return LeverGain(
        lever=lever,
        instead=value,
        best=best.levers[lever],
        predicted_gain=predicted if lever not in search.setup.unknown else None,
        measured_gain=best.measured_tok_s / tok_s - 1,
        how=_how(pair),
    )


def _measured(trials: Sequence[Trial], same: Sequence[Option]) -> Trial | None:
    keys = {option.key for option in same}
    found = [trial for trial in trials if trial.key in keys and trial.measured_tok_s]
    return max(found, key=lambda trial: trial.measured_tok_s or 0.0, default=None)


def _how(pair: Trial | None) -> Literal["measured", "rough", "fitted"]:
    if pair is None:
        return "fitted"
    return "rough" if pair.status == "stopped early" else "measured"


def _without_follows(levers: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in levers.items() if name not in FOLLOWS}


def write_fleet(option: Option, best: Trial, path: Path) -> None:
    """The fleet file to keep: every flag of the best, and what it reached."""
    where = f"{best.engine}{' GPUs' if best.engine == 'simulated' else ''}, {best.folder}"
    head = (
        f"# The best of a measured search: {best.measured_tok_s or 0:,.0f} total tok/s ({where}).\n"
        "# Every flag is settled; nothing is searched.\n"
    )
    replace_file(path, head + fleet_text(option.fleet))
