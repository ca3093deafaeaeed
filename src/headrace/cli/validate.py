"""`headrace validate`: the performance model against measured points."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from headrace.cli.output import console, print_json
from headrace.validation.cells import Pair, Unsupported, Validation


def validate(
    points_file: Annotated[
        Path, typer.Argument(help="Measured points, one a row.", metavar="POINTS.csv")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Also write a page with a chart of predicted against measured for each cell.",
            metavar="FILE",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the page.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Predict measured points and show the errors by cell."""
    from headrace.perf.load import current_constants
    from headrace.validation.cells import pairs_of, summarize
    from headrace.validation.points import load_points

    if output is not None:
        from headrace.report.write import check_free

        check_free(output, force=force)
    pairs, unsupported = pairs_of(load_points(points_file), current_constants())
    result = summarize(pairs, unsupported)
    show(result)
    if output is not None:
        write(pairs, unsupported, points_file, output)
    if json:
        print_json(result)


def write(
    pairs: list[Pair], unsupported: list[Unsupported], points_file: Path, output: Path
) -> None:
    """The page, and where it is. Raises InputError where it cannot be written."""
    from headrace.report.validation import validation_page
    from headrace.report.write import write_page

    command = shlex.join(["headrace", "validate", str(points_file), "--output", str(output)])
    page = validation_page(pairs, unsupported, points_file.name, command)
    path = write_page(page, output)
    console.print(f"[bold]report[/]  {escape(str(path))}", soft_wrap=True)


def show(result: Validation) -> None:
    """One line a cell, then all of them, then what was left out."""
    table = Table(title="predicted against measured, errors in %", title_justify="left", box=None)
    table.add_column("cell", overflow="fold")
    for name in ("n", "TPOT mean", "TTFT median", "tok/s mean", "in band"):
        table.add_column(name, justify="right")
    for cell in result.cells:
        inside = "-" if cell.in_band is None else f"{100 * cell.in_band:.0f} %"
        errors = (cell.mape_tpot, cell.median_ape_ttft, cell.mape_throughput)
        table.add_row(escape(cell.name), str(cell.n), *map(_shown, errors), inside)
    errors = (result.mape_tpot, result.median_ape_ttft, result.mape_throughput)
    table.add_row("all", str(result.predicted), *map(_shown, errors), "", style="bold")
    console.print(table)
    reasons = Counter(row.reason for row in result.unsupported)
    if reasons:
        console.print(f"{len(result.unsupported)} of {result.rows} rows not predicted:")
    for reason, count in reasons.most_common(8):
        console.print(f"  {count} x {escape(reason)}", soft_wrap=True)


def _shown(error: float | None) -> str:
    return "-" if error is None else f"{error:.1f}"
