"""A measured search on the terminal: what is tried, how it goes, and what came out."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.markup import escape
from rich.status import Status
from rich.table import Table

from headrace.cli.load_view import shown_progress
from headrace.cli.output import console
from headrace.cli.plan import short_lever
from headrace.loadgen.progress import Progress
from headrace.tuner.learn import Expectation
from headrace.tuner.outcome import LeverGain, Outcome
from headrace.tuner.setup import Setup
from headrace.tuner.space import Option
from headrace.tuner.trial import Trial

COLORS = {"measured": "green", "failed": "red"}


class Terminal:
    """Shows a search as it goes (`tuner.search.Observer`)."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._shown: ExitStack = ExitStack()
        self._status: Status | None = None
        self._bar: Any = None

    def __enter__(self) -> Self:
        count = len(self._setup.by_key())
        console.print(f"{count:,} configurations to choose from; each trial starts an engine")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._clear()

    def trying(self, number: int, option: Option, expected: Expectation) -> None:
        """One line per trial, and a spinner while the engine starts."""
        console.print(
            f"[bold]#{number}[/] {escape(in_short(option.levers))}  "
            f"[dim]expected {expected.tok_s:,.0f} total tok/s, give or take {expected.sd:.0%}[/]",
            soft_wrap=True,
        )
        if console.is_terminal:
            self._status = self._shown.enter_context(console.status("starting"))

    def phase(self, phase: str) -> None:
        """What the starting engine is doing; a line each where there is no terminal."""
        if self._status is not None:
            self._status.update(f"starting ({escape(phase)})")
        else:
            console.print(f"[dim]   {escape(phase)}[/]", soft_wrap=True)

    def progress(self, progress: Progress) -> None:
        """The load's progress, in place of the spinner."""
        if self._bar is None:
            self._clear()
            self._bar = self._shown.enter_context(shown_progress())
        self._bar(progress)

    def tried(self, trial: Trial) -> None:
        """What came of it."""
        self._clear()
        color = COLORS.get(trial.status, "yellow")
        rate = f"{trial.measured_tok_s:,.0f} total tok/s  " if trial.measured_tok_s else ""
        why = f": {trial.reason}" if trial.reason else ""
        console.print(
            f"   {rate}[{color}]{trial.status}[/]{escape(why)}  [dim]{trial.took_s:.0f} s[/]",
            soft_wrap=True,
        )

    def _clear(self) -> None:
        self._shown.close()
        self._shown, self._status, self._bar = ExitStack(), None, None


def in_short(levers: dict[str, Any]) -> str:
    """`mtp=0 kv=fp8 seqs=768`; of a checkpoint's path only the last part."""
    return " ".join(f"{short_lever(name)}={_value(value)}" for name, value in levers.items())


def _value(value: Any) -> str:
    text = str(value)
    return text.rpartition("/")[2] if "/" in text else text


def show_outcome(found: Outcome, folder: Path, fleet_file: Path) -> None:
    """The trials, the levers, and what to do next."""
    if found.trials:
        console.print(_trials(found))
    if found.levers:
        console.print(_levers(found))
    if found.best is not None and found.ratio is not None:
        note = " [yellow](GPUs simulated)[/]" if found.engine == "simulated" else ""
        console.print(
            f"[bold]best[/]  #{found.best.number}, {found.best.measured_tok_s:,.0f} total tok/s, "
            f"{found.ratio:.2f} times #{found.baseline.number if found.baseline else 0}{note}"
        )
        console.print(f"[bold]keep[/]  {escape(str(found.fleet_file))}", soft_wrap=True)
    console.print(f"[dim]ended: {escape(found.ended)}[/]", soft_wrap=True)
    console.print(
        f"[dim]go on: headrace tune {escape(str(fleet_file))} --resume {escape(str(folder))}[/]",
        soft_wrap=True,
    )


def _trials(found: Outcome) -> Table:
    table = Table(title="trials, total tok/s", title_justify="left", box=None, pad_edge=False)
    table.add_column("#", justify="right")
    for name in ("predicted", "expected", "measured"):
        table.add_column(name, justify="right")
    table.add_column("configuration", overflow="fold")
    for trial in sorted(found.trials, key=lambda t: -(t.measured_tok_s or 0.0)):
        measured = f"{trial.measured_tok_s:,.0f}" if trial.measured_tok_s else trial.status
        marked = (
            measured if trial.counts or not trial.measured_tok_s else f"{measured} ({trial.status})"
        )
        table.add_row(
            str(trial.number),
            f"{trial.predicted_tok_s:,.0f}",
            f"{trial.expected_tok_s:,.0f}",
            marked,
            escape(in_short(trial.levers)),
        )
    return table


def _levers(found: Outcome) -> Table:
    table = Table(title="lever by lever", title_justify="left", box=None, pad_edge=False)
    table.add_column("lever")
    table.add_column("best")
    table.add_column("instead of")
    table.add_column("predicted", justify="right")
    table.add_column("measured", justify="right")
    for row in found.levers:
        predicted = "-" if row.predicted_gain is None else f"{row.predicted_gain:+.1%}"
        table.add_row(
            row.lever, escape(_value(row.best)), escape(_value(row.instead)), predicted, _gain(row)
        )
    return table


def _gain(row: LeverGain) -> str:
    return f"{row.measured_gain:+.1%}" + ("" if row.how == "measured" else f" ({row.how})")
