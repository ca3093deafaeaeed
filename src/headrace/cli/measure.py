"""A measurement as every verb makes it: shown, stopped by signals, judged."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import GoalMissedError, HeadraceError
from headrace.loadgen.progress import OnProgress, to_all
from headrace.loadgen.spec import BenchSpec
from headrace.loadgen.summary import Summary
from headrace.spec.slo import goals_of

if TYPE_CHECKING:
    from headrace.loadgen.team import Agents

NOTHING_HINT = "check the server's log, --model and --api-key-env"


def bench_with_progress(
    spec: BenchSpec,
    out_dir: Path,
    *,
    force: bool,
    agents: Agents | None = None,
    seen: OnProgress | None = None,
) -> Summary:
    """Measure, with progress and the result on the terminal; files are left in `out_dir`.

    `seen` is told of the progress too.

    SIGINT and SIGTERM end the load early: the files are complete, the summary not valid. Raises
    InputError for bad input and HeadraceError for a server that cannot be reached.
    """
    from headrace.cli.load_view import show_summary, shown_progress
    from headrace.loadgen.run import run_bench

    with stop_on_signals() as stop, shown_progress() as show:
        progress = to_all(show, seen)
        summary = run_bench(spec, out_dir, progress=progress, stop=stop, force=force, agents=agents)
    show_summary(summary, out_dir)
    return summary


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second has its usual effect."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def heard(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, heard)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def judge(slo: dict[str, float], summary: Summary) -> None:
    """Exit status 1 when nothing completed, 4 when not valid or an SLO was missed."""
    reasons = "; ".join(summary.invalid_reasons)
    if not summary.requests.completed and "interrupted" not in summary.invalid_reasons:
        raise HeadraceError(f"{reasons}{_first_example(summary)}", hint=NOTHING_HINT)
    if not summary.valid:
        raise GoalMissedError(f"the measurement is not valid: {reasons}")
    missed = missed_goals(slo, summary)
    if missed:
        raise GoalMissedError(f"goal missed: {'; '.join(missed)}")


def missed_goals(slo: dict[str, float], summary: Summary) -> list[str]:
    """The goals whose percentile is over the limit, in words."""
    if summary.latency_ms is None:
        return []
    missed = []
    for goal in goals_of(slo):
        measured_ms = summary.latency_ms.at(goal.metric, goal.percentile)
        if measured_ms > goal.limit_ms:
            missed.append(f"{goal.words} {measured_ms:.0f} ms is over {goal.limit_ms:g} ms")
    return missed


def _first_example(summary: Summary) -> str:
    return next(
        (f"; {kind}: {text}" for kind, text in summary.requests.examples.items() if text), ""
    )
