"""The comparison as a Markdown table, a chart (SVG), and the page of the docs that shows both."""

from __future__ import annotations

import importlib.util
import os
import platform
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from loadgen.measure import Bench, Row
from loadgen.tools import Reported

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "load-generator-compared.md"
CHART = DOCS / "images" / "load-generators.svg"
HEADS = ("tool", "streams held", "TTFT p50 / p99 ms", "ITL mean ms", "output tok/s")
FURTHER = ("chunks per CPU s", "server late p50 / p99 ms")

LABEL = "Chunks taken in per second of processor time"
OPENING = """# Load generators compared

Written on {today} by `{command}`, one run of each tool, on
{machine}.
Every tool runs on the same processor, the paced server (`benchmarks/paced_server.c`) before all
else on another. Headrace {reader}.

![Chunks taken in per second of processor time](images/{chart})
"""
CLOSING = """\
Streams held are what the server saw, on average between its first request and its last chunk, so
start and end of a run count. The server's schedule is the truth; what it was itself late with (last
column) no client can be blamed for. Chunks per CPU second are those of answers that were taken in
to their end, over what all processes of the tool used.
"""
NOTHING = Reported(None, None, None, None)
BAR, GAP, LEFT, WIDTH = 22, 10, 130, 560
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#57606a}.bar{fill:#8b949e}.own{fill:#0969da}"
    "@media(prefers-color-scheme:dark){text{fill:#adbac7}.own{fill:#539bf5}}"
)


def table(rows: list[Row], bench: Bench) -> str:
    """The rows as Markdown, under a line that says what was asked and what is true."""
    tokens = f"{bench.input_tokens} prompt and {bench.output_tokens} output tokens"
    lines = [
        f"{bench.streams:,} streams, {bench.requests:,} requests, each of {tokens}.",
        f"Truth: TTFT {bench.ttft_ms:g} ms, ITL {bench.itl_ms:g} ms.",
        "",
        f"| {' | '.join(HEADS + FURTHER)} |",
        f"|{'---|' * len(HEADS + FURTHER)}",
    ]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    if not row.requests:
        return [row.tool, "did not run", "", "", "", "", ""]
    said = row.reported or NOTHING
    return [
        row.tool,
        f"{row.held:,.0f} (most {row.held_max:,})",
        f"{_cell(said.ttft_p50)} / {_cell(said.ttft_p99)}" if row.reported else "",
        _cell(said.itl_mean, 1),
        _cell(said.output_tok_s),
        _cell(row.chunks_per_cpu_s),
        f"{_cell(row.server_late_p50_ms, 1)} / {_cell(row.server_late_p99_ms, 1)}",
    ]


def _cell(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def ratios(rows: list[Row]) -> str:
    """How many times the chunks per processor second of each other tool Headrace takes."""
    speeds = {row.tool: row.chunks_per_cpu_s for row in rows if row.chunks_per_cpu_s}
    own = speeds.pop("headrace", None)
    if not own or not speeds:
        return ""
    parts = [f"{own / speed:.1f} times {name}" for name, speed in speeds.items()]
    return f"Chunks per processor second: Headrace takes {', '.join(parts)}.\n"


def remarks(rows: list[Row]) -> str:
    """What did not run, and what tools say of their own measurement."""
    lines = [f"- {row.tool}: {row.failed}" for row in rows if row.failed]
    lines += [
        f"- {row.tool} calls its measurement {row.reported.verdict}"
        for row in rows
        if row.reported and row.reported.verdict
    ]
    return "\n".join(lines) + "\n" if lines else ""


def page(rows: list[Row], bench: Bench, command: str) -> str:
    """The page of the docs."""
    today = datetime.now(UTC).date().isoformat()
    told = {"command": command, "today": today, "machine": machine(), "chart": CHART.name}
    compiled = importlib.util.find_spec("numba") is not None
    told["reader"] = (
        "had numba: compiled code took in the usual chunks" if compiled else "had no numba"
    )
    parts = [OPENING.format(**told), table(rows, bench), ratios(rows), remarks(rows), CLOSING]
    return "\n".join(part for part in parts if part)


def machine() -> str:
    """Processors and kernel of this machine."""
    model = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    load = os.getloadavg()[2]
    kernel = platform.release().split("-")[0]
    return (
        f"{os.cpu_count()} processors ({model}), Linux {kernel}, "
        f"load average of the last 15 minutes {load:.1f}"
    )


def chart(rows: list[Row]) -> str:
    """Bars of chunks per processor second, as SVG."""
    shown = [(row.tool, row.chunks_per_cpu_s) for row in rows if row.chunks_per_cpu_s]
    most = max((speed for _, speed in shown), default=1.0)
    height = len(shown) * (BAR + GAP) + GAP
    view = f"0 0 {LEFT + WIDTH + 90} {height}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" role="img"',
        f'aria-label="{LABEL}">',
        f"<style>{STYLE}</style>",
    ]
    for place, (tool, speed) in enumerate(shown):
        y = GAP + place * (BAR + GAP)
        width = WIDTH * speed / most
        kind = "own" if tool == "headrace" else "bar"
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 16}" text-anchor="end">{escape(tool)}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.0f}" height="{BAR}" rx="3"/>',
            f'<text x="{LEFT + width + 8:.0f}" y="{y + 16}">{speed:,.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def write_page(text: str, rows: list[Row]) -> None:
    """Write the page and its chart."""
    CHART.write_text(chart(rows), encoding="utf-8")
    PAGE.write_text(text, encoding="utf-8")
