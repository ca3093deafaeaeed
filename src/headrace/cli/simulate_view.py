"""A simulation for people: tables on stderr, each called simulated."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from headrace.cli.output import console
from headrace.report import simulation as page
from headrace.report.chart import Table as Rows
from headrace.report.words import milliseconds, number, seconds, usd
from headrace.simulator.result import Simulation


def show(found: Simulation) -> None:
    """Headline, tables, and what it cost to find out."""
    console.print(f"[bold]{escape(found.name)}[/]  simulated: {found.question}", soft_wrap=True)
    if found.total_tok_s is not None:
        console.print(_headline(found))
    for rows in page.tables(found):
        console.print(_table(rows))
    core = "" if found.quick else ", reference implementation"
    console.print(
        f"[dim]{seconds(found.simulated_s)} each simulated in {found.elapsed_s:.1f} s{core}[/]"
    )


def _headline(found: Simulation) -> Table:
    table = Table(title="simulated", title_justify="left", show_header=False, box=None)
    table.add_column(justify="right")
    table.add_column()
    table.add_row(number(found.total_tok_s), "total tok/s")
    if found.latency_ms is not None:
        for name, d in (("TPOT", found.latency_ms.tpot), ("TTFT", found.latency_ms.ttft)):
            table.add_row(milliseconds(d.p50), f"{name} median (p99 {milliseconds(d.p99)})")
    if found.usd_per_million_tokens is not None:
        table.add_row(usd(found.usd_per_million_tokens), "per million total tokens")
    table.add_row(f"{found.requests.get('failed', 0):,}", "requests failed")
    return table


def _table(rows: Rows) -> Table:
    table = Table(title=rows.caption, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for index, name in enumerate(rows.columns):
        if index == 0 or not rows.numeric:
            table.add_column(name)
        else:
            cells = [row[index] for row in rows.rows]
            widest = max(map(len, [*name.split(), *cells]))
            table.add_column(name, justify="right", max_width=widest)
    for row in rows.rows[:40]:
        table.add_row(*(escape(cell) for cell in row))
    return table
