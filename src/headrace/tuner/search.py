"""The measured search: try an option, learn from it, pick the next, until the budget is spent."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from headrace.errors import HeadraceError
from headrace.tuner.attempt import Attempt, Follower, Goals, Setting
from headrace.tuner.learn import Expectation, Learned, Point
from headrace.tuner.recalibrate import recalibrated
from headrace.tuner.session import Planner
from headrace.tuner.setup import Setup
from headrace.tuner.space import Option
from headrace.tuner.trial import Trial, add_trial

WORTH = 0.003
"""Once no option is expected to gain this share, the search is over."""
STEPS = (1, 2)
"""Levers that may change at once from the best so far: one, while that is worth a trial, so that
each one's part is measured; then two."""
FOLLOWS = ("max_num_seqs",)
"""Levers that follow from the others (memory) and are not counted."""
WINDOW_REQUESTS = 1.3
"""A measured window holds this many request times, or MIN_WINDOW_S."""
MIN_WINDOW_S = 10.0
WARMUP_REQUESTS = 1.5
"""Request times until a load is warm."""
LEAST_START_S = 60.0
"""An engine may take the rest of the budget to start, or this where less is left."""
ROUGH = ("stopped early", "not valid")
"""Trials whose figure is learned from with more doubt."""
PATIENCE = 3
"""Trials that may fail before one was measured."""
START_S = {"vllm": 240.0, "simulated": 5.0}
"""How long the first start is taken to last, before one was seen."""


class Observer(Follower, Protocol):
    """Who is told how the search goes."""

    def trying(self, number: int, option: Option, expected: Expectation) -> None:
        """A trial begins."""

    def tried(self, trial: Trial) -> None:
        """A trial is over."""


@dataclass(frozen=True)
class Rules:
    """What bounds a search."""

    budget_s: float
    window_s: float | None = None
    """The least length of a measured window; MIN_WINDOW_S when None."""
    max_trials: int | None = None
    processes: int = 1
    seed: int = 0


@dataclass
class Search:
    """A search in a folder. `trials` are those of earlier calls too."""

    setup: Setup
    folder: Path
    planner: Planner
    goals: Goals
    rules: Rules
    observer: Observer
    trials: list[Trial] = field(default_factory=list)
    _end_s: float = 0.0
    _learned: tuple[int, Learned] | None = None

    def run(self) -> str:
        """Try options until nothing is worth it; returns why it ended."""
        self._end_s = time.monotonic() + self.rules.budget_s
        done = len(self.trials)
        while True:
            if self.rules.max_trials and len(self.trials) - done >= self.rules.max_trials:
                return f"{self.rules.max_trials} trials were asked for"
            option = self._next()
            if option is None:
                return f"nothing left is expected to gain {WORTH:.1%}"
            if len(self.trials) > done and self._needed_s(option) > self._left_s():
                return "the budget is spent"
            self._try(option)
            self._refuse_to_go_on()

    def _refuse_to_go_on(self) -> None:
        """Raises HeadraceError when nothing at all has worked."""
        if len(self.trials) >= PATIENCE and all(t.status == "failed" for t in self.trials):
            last = self.trials[-1]
            raise HeadraceError(
                f"none of {len(self.trials)} trials could be measured; the last: {last.reason}",
                hint=f"its logs: {self.folder / last.folder / 'logs'}",
            )

    # --- choosing

    def best(self) -> Trial | None:
        """The trial with the most tokens that is valid and keeps the goals."""
        counting = [t for t in self.trials if t.counts and t.measured_tok_s]
        return max(counting, key=lambda t: t.measured_tok_s or 0.0, default=None)

    def learned(self) -> Learned:
        """What all trials say together; made anew only after another trial."""
        if self._learned is None or self._learned[0] != len(self.trials):
            self._learned = (len(self.trials), self._learn())
        return self._learned[1]

    def _learn(self) -> Learned:
        by_key = self.setup.by_key()
        points = [
            Point(by_key[t.key], t.measured_tok_s, rough=t.status in ROUGH)
            for t in self.trials
            if t.measured_tok_s
        ]
        constants = recalibrated(self.setup.constants, self.folder, self.trials)
        predicted = self.setup.predictions(constants)
        return Learned(self.setup.first[-1], list(by_key.values()), points, predicted)

    def _next(self) -> Option | None:
        tried = self._tried()
        ahead = [option for option in self.setup.first if option.key not in tried]
        if ahead:
            return ahead[0]
        best, learned = self.best(), self.learned()
        near = best.levers if best else self.setup.first[-1].levers
        best_tok_s = (best.measured_tok_s if best else None) or 0.0
        for distance in STEPS:
            gains = [
                (learned.expect(option).gain_over(best_tok_s), option)
                for option in self.setup.options
                if option.key not in tried and changes(option, near) <= distance
            ]
            gain, option = max(gains, key=lambda pair: pair[0], default=(0.0, None))
            if gain > WORTH:
                return option
        return None

    def _tried(self) -> set[str]:
        """What is not tried again. A measurement that was not valid is repeated once."""
        once = [trial.key for trial in self.trials if trial.status == "not valid"]
        settled = {trial.key for trial in self.trials if trial.status != "not valid"}
        return settled | {key for key in once if once.count(key) > 1}

    # --- time

    def _left_s(self) -> float:
        return self._end_s - time.monotonic()

    def _request_s(self, option: Option) -> float:
        """The predicted time of a request, stretched by what the trials have taught."""
        slower = option.predicted_tok_s / self.learned().expect(option).tok_s
        return option.e2e_s * max(1.0, slower)

    def _window_s(self, option: Option) -> float:
        """A window shorter than a request measures nothing."""
        least_s = self.rules.window_s or MIN_WINDOW_S
        return max(least_s, WINDOW_REQUESTS * self._request_s(option))

    def _needed_s(self, option: Option) -> float:
        """A start like those seen, the warm-up, and the window."""
        starts = [t.ready_s for t in self.trials if t.ready_s is not None]
        kind = option.fleet.engine.kind
        start_s = sum(starts) / len(starts) if starts else START_S[kind]
        return start_s + WARMUP_REQUESTS * self._request_s(option) + self._window_s(option)

    # --- trying

    def _try(self, option: Option) -> None:
        number = len(self.trials)
        expected = self.learned().expect(option)
        self.observer.trying(number, option, expected)
        best = self.best()
        setting = Setting(
            folder=self.folder / f"trial-{number:02d}",
            window_s=self._window_s(option),
            best_tok_s=best.measured_tok_s if best else None,
            start_timeout_s=max(LEAST_START_S, self._left_s()),
            processes=self.rules.processes,
            seed=self.rules.seed,
        )
        attempt = Attempt(option, number, expected, setting, self.planner, self.goals)
        trial = attempt.run(self.observer)
        self.trials.append(trial)
        add_trial(self.folder, trial)
        self.observer.tried(trial)


def changes(option: Option, near: dict[str, object]) -> int:
    """How many levers differ, those that follow from others left out."""
    names = set(option.levers) - set(FOLLOWS)
    return sum(option.levers[name] != near.get(name, option.levers[name]) for name in names)
