"""`headrace compare`: two measurements, and whether their difference is more than chance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from headrace.cli.output import console, print_json
from headrace.loadgen.compare import Comparison

WORDS = {"_tok_s": " tok/s", "_mean_ms": " mean ms", "_p50_ms": " p50 ms", "_p99_ms": " p99 ms"}


def compare(
    a: Annotated[Path, typer.Argument(help="Folder of the run to start from.", metavar="RUN_A")],
    b: Annotated[Path, typer.Argument(help="Folder of the other run.", metavar="RUN_B")],
    seed: Annotated[int, typer.Option("--seed", help="Seed of the resamples.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the figures on stdout.")] = False,
) -> None:
    """Compare two measurements: differences with 95 % intervals from a block bootstrap."""
    from headrace.loadgen.compare import compare_runs
    from headrace.loadgen.past import load_past

    found = compare_runs(load_past(a), load_past(b), seed)
    _show(found)
    if json:
        print_json(found)


def _show(found: Comparison) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("A", "B", "B - A", "95 % of B - A", ""):
        table.add_column(name, justify="right")
    for name, figure in found.figures.items():
        share = f"{figure.difference / figure.a:+.1%}" if figure.a else ""
        table.add_row(
            _words(name),
            f"{figure.a:,.1f}",
            f"{figure.b:,.1f}",
            share,
            f"{figure.low:+,.1f} .. {figure.high:+,.1f}",
            "clear" if figure.clear else "[dim]may be chance[/]",
        )
    console.print(f"[bold]A[/] {escape(found.a)}   [bold]B[/] {escape(found.b)}", soft_wrap=True)
    console.print(table)
    for warning in found.warnings:
        console.print(f"[yellow]note[/]  {escape(warning)}", soft_wrap=True)


def _words(name: str) -> str:
    for end, words in WORDS.items():
        if name.endswith(end):
            head = name.removesuffix(end)
            return (head if head in ("total", "output", "e2e") else head.upper()) + words
    return name
