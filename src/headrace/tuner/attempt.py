"""One option, started and measured, and the record of how that went."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headrace.errors import HeadraceError
from headrace.loadgen.progress import Progress
from headrace.loadgen.summary import Summary
from headrace.tuner.counters import Counters
from headrace.tuner.hopeless import Hopeless
from headrace.tuner.learn import Expectation
from headrace.tuner.session import Planner, measure, served
from headrace.tuner.space import Option
from headrace.tuner.trial import Status, Trial

Goals = Callable[[Summary], list[str]]
"""The goals that a summary missed, in words."""


class Follower(Protocol):
    """Who is told how one attempt goes."""

    def phase(self, phase: str) -> None:
        """What the starting engine is doing."""

    def progress(self, progress: Progress) -> None:
        """How far the load is."""


@dataclass(frozen=True)
class Setting:
    """Where and how long an attempt is measured, and what it must beat."""

    folder: Path
    window_s: float
    best_tok_s: float | None
    start_timeout_s: float | None = None
    processes: int = 1
    seed: int = 0


class Attempt:
    """One option. `run` always gives a record; what cannot be helped by trying on is raised."""

    def __init__(
        self,
        option: Option,
        number: int,
        expected: Expectation,
        setting: Setting,
        planner: Planner,
        goals: Goals,
    ) -> None:
        self._option, self._number, self._expected = option, number, expected
        self._setting, self._planner, self._goals = setting, planner, goals
        self._hopeless = Hopeless(setting.best_tok_s)
        self._began_s = time.monotonic()
        self._ready_s: float | None = None

    def run(self, follower: Follower) -> Trial:
        """Start, load, stop, judge. An engine that does not start or serve is a failed trial."""
        try:
            return self._judged(self._measure(follower))
        except HeadraceError as error:
            return self._record("failed", str(error))

    def _measure(self, follower: Follower) -> Summary:
        def progress(now: Progress) -> None:
            follower.progress(now)
            if self._hopeless.seen(now):
                self._hopeless.cut.set()

        plan, setting = self._planner(self._option.fleet), self._setting
        begun = served(plan, setting.folder, follower.phase, setting.start_timeout_s)
        with begun as at:
            self._ready_s = at.ready_s
            return measure(
                at,
                plan,
                setting.folder,
                setting.window_s,
                processes=setting.processes,
                seed=setting.seed,
                progress=progress,
                stop=self._hopeless.cut,
                counters=self._watch,
            )

    def _watch(self, counters: Counters) -> None:
        self._hopeless.counters = counters

    def _judged(self, summary: Summary) -> Trial:
        if self._hopeless.rate is not None:
            reason = f"{self._hopeless.behind:.0%} behind the best in its steady state"
            return self._record("stopped early", reason, summary, self._hopeless.rate)
        if summary.latency_ms is None:
            return self._record("failed", "; ".join(summary.invalid_reasons), summary)
        measured = summary.throughput.total_tok_s
        if not summary.valid:
            reason = "; ".join(summary.invalid_reasons)
            return self._record("not valid", reason, summary, measured)
        missed = self._goals(summary)
        status: Status = "goal missed" if missed else "measured"
        return self._record(status, "; ".join(missed) or None, summary, measured)

    def _record(
        self,
        status: Status,
        reason: str | None,
        summary: Summary | None = None,
        measured_tok_s: float | None = None,
    ) -> Trial:
        latency = summary.latency_ms if summary else None
        return Trial(
            number=self._number,
            key=self._option.key,
            levers=self._option.levers,
            status=status,
            reason=reason,
            folder=self._setting.folder.name,
            engine=summary.engine if summary else "",
            predicted_tok_s=self._option.predicted_tok_s,
            expected_tok_s=self._expected.tok_s,
            measured_tok_s=measured_tok_s,
            tpot_ms=latency.tpot.mean if latency else None,
            usd_per_million_tokens=summary.usd_per_million_tokens if summary else None,
            ready_s=self._ready_s,
            took_s=round(time.monotonic() - self._began_s, 1),
        )
