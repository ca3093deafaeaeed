"""A measurement on the terminal: its progress, and its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from headrace.cli.output import console
from headrace.loadgen.progress import Progress
from headrace.loadgen.summary import Distribution, Summary

LINE_EVERY_S = 5.0
SHORT = {"warming up": "warm-up"}
"""So that the bar keeps a few of 80 columns at a million tokens per second."""


@contextmanager
def shown_progress() -> Iterator[Callable[[Progress], None]]:
    """Shows what it is called with: a bar on a terminal, else a line every few seconds."""
    if not console.is_terminal:
        yield _Lines()
        return
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[figures]}"),
        console=console,
        expand=True,
        auto_refresh=False,
        transient=True,
    )
    with bar:
        task = bar.add_task("connecting", total=1.0, figures="")

        def show(progress: Progress) -> None:
            state = SHORT.get(progress.state, progress.state)
            bar.update(
                task,
                description=f"{progress.elapsed_s:.0f} s {state}",
                completed=progress.share,
                figures=figures(progress).replace("  ", " "),
                refresh=True,
            )

        yield show


class _Lines:
    """Plain lines for logs."""

    def __init__(self) -> None:
        self._next_s = LINE_EVERY_S

    def __call__(self, progress: Progress) -> None:
        if progress.elapsed_s < self._next_s:
            return
        self._next_s = progress.elapsed_s + LINE_EVERY_S
        head = f"{progress.elapsed_s:.0f} s  {progress.state}  {progress.share:.0%}"
        console.print(f"{head}  {figures(progress)}", soft_wrap=True)


def figures(progress: Progress) -> str:
    """`28,113 out tok/s  512 running  203 done`, and failures where there are any."""
    text = (
        f"{progress.output_tok_s:,.0f} out tok/s  {progress.running} running  {progress.done} done"
    )
    return f"{text}  {progress.failed} failed" if progress.failed else text


def show_summary(summary: Summary, out_dir: Path) -> None:
    """The result: rates, latencies, what failed, where the files are."""
    note = " [yellow](GPUs simulated)[/]" if summary.engine == "simulated" else ""
    console.print(f"[bold]{escape(summary.model)}[/] on {escape(summary.engine)}{note}")
    console.print(_rates(summary))
    if summary.latency_ms is not None:
        console.print(_latencies(summary))
    for kind, count in summary.requests.errors.items():
        said = summary.requests.examples.get(kind, "")
        console.print(f"[red]failed[/]  {count} {kind}  [dim]{escape(said[:200])}[/]")
    for reason in summary.invalid_reasons:
        console.print(f"[yellow]not valid[/]  {escape(reason)}", soft_wrap=True)
    console.print(f"[dim]summary and records: {escape(str(out_dir))}[/]", soft_wrap=True)


def _rates(summary: Summary) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right")
    table.add_column()
    rates, requests, running = summary.throughput, summary.requests, summary.concurrency
    table.add_row(f"{rates.output_tok_s:,.0f}", "output tok/s")
    table.add_row(f"{rates.total_tok_s:,.0f}", "total tok/s (input and output)")
    table.add_row(f"{rates.request_s:,.2f}", f"requests/s over {summary.duration_s:.1f} s")
    table.add_row(f"{requests.completed}", f"completed, {requests.failed} failed")
    asked = "" if running.asked is None else f" ({running.asked} asked)"
    table.add_row(f"{running.mean:,.1f}", f"requests in flight on average{asked}")
    if summary.goodput is not None:
        good = summary.goodput
        table.add_row(f"{good.request_s:,.2f}", f"requests/s within the SLO ({good.share:.1%})")
    if summary.usd_per_million_tokens is not None:
        table.add_row(f"{summary.usd_per_million_tokens:.4f}", "USD per million total tokens")
    return table


def _latencies(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("ms")
    for name in ("mean", "p50", "p90", "p95", "p99", "max"):
        table.add_column(name, justify="right")
    assert summary.latency_ms is not None
    for name in ("ttft", "tpot", "itl", "e2e"):
        values: Distribution = getattr(summary.latency_ms, name)
        cells = (values.mean, values.p50, values.p90, values.p95, values.p99, values.max)
        table.add_row(name.upper() if name != "e2e" else name, *(f"{cell:,.1f}" for cell in cells))
    return table
