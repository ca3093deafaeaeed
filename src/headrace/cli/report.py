"""`headrace report`: an HTML page of one run, or of several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from headrace.cli.output import console, print_json


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs: runs/<id>.", metavar="RUN...")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The page to write; report.html in the run's folder, or here for several runs.",
            metavar="FILE",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the page.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write an HTML report of one run, or of several side by side."""
    from headrace.report.write import write_report

    folder = runs[0] if len(runs) == 1 else Path()
    path = write_report(runs, output or folder / "report.html", force=force)
    console.print(f"[bold]report[/]  {escape(str(path))}", soft_wrap=True)
    if json:
        print_json({"report": str(path), "runs": [str(run.resolve()) for run in runs]})
