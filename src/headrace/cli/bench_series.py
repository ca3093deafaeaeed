"""Sweeps and searches on the command line."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from headrace.cli.measure import bench_with_progress
from headrace.cli.output import console
from headrace.errors import GoalMissedError, HeadraceError, InputError
from headrace.loadgen.series import Axis, Runner, Series, at_load, find_highest, sweep
from headrace.loadgen.spec import BenchSpec
from headrace.loadgen.summary import Summary
from headrace.loadgen.team import Agents


def measure_several(
    spec: BenchSpec,
    axis: Axis,
    loads: list[float],
    out_dir: Path,
    agents: Agents,
    *,
    force: bool,
    resume: bool,
) -> Series:
    """Measure at each load, or search for the highest good one when there are none.

    Raises InputError when the folder holds a series already and neither `force` nor `resume`, and
    for a load that does not go with the rest, before the first is measured.
    """
    for load in loads:
        at_load(spec, axis, load)
    if (out_dir / "sweep.json").exists() and not (force or resume):
        raise InputError(
            f"{out_dir / 'sweep.json'} exists already",
            hint="pass --resume to go on with it, --force to begin anew, or another --output",
        )
    out_dir.mkdir(parents=True, exist_ok=True)

    def measure(at: BenchSpec, folder: Path) -> Summary:
        return bench_with_progress(at, folder, force=force or resume, agents=agents)

    runner = Runner(spec, axis, out_dir, measure, resume=resume)
    start = float(spec.request_rate or spec.concurrency or 1)
    series = sweep(runner, loads) if loads else find_highest(runner, start)
    show_series(series, out_dir)
    return series


def show_series(series: Series, out_dir: Path) -> None:
    """A line for each load."""
    table = Table(box=None, pad_edge=False)
    for name in (series.axis, "out tok/s", "total tok/s", "TTFT p99", "TPOT p99", "ITL p99", ""):
        table.add_column(name, justify="right")
    for point in series.points:
        rates, latency = point.summary.throughput, point.summary.latency_ms
        times = (latency.ttft.p99, latency.tpot.p99, latency.itl.p99) if latency else ()
        verdict = "ok" if point.met else "missed" if point.summary.valid else "not valid"
        table.add_row(
            f"{point.load:g}",
            f"{rates.output_tok_s:,.0f}",
            f"{rates.total_tok_s:,.0f}",
            *(f"{value:,.1f}" for value in times or (0.0, 0.0, 0.0)),
            verdict,
        )
    console.print(table)
    if series.slo:
        best = "none met the goals" if series.best_load is None else f"{series.best_load:g}"
        console.print(f"[bold]highest {series.axis} within the goals[/]  {best}")
    console.print(f"[dim]a folder for each load, and sweep.json: {out_dir}[/]", soft_wrap=True)


def judge_series(series: Series) -> None:
    """Exit status 1 when nothing completed, 4 when interrupted or no load met the goals."""
    if not any(point.summary.requests.completed for point in series.points):
        raise HeadraceError("no request completed at any load")
    if not series.complete:
        raise GoalMissedError("interrupted", hint="go on with --resume and the same --output")
    if series.best_load is None:
        raise GoalMissedError("no load was valid and met the goals")
