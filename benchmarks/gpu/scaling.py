"""How throughput grows with GPUs: measured replicas beside the published nodes, and their chart.

    python benchmarks/gpu/scaling.py        # docs/images/scaling.svg, and a table for docs/gpu.md

Reads `comparison.json`. A point is a load of several independent replicas, or of one server with
as many data-parallel ranks; what it is measured by is the same flags on one GPU of the same sitting
(the mean, where several GPUs were measured so), with the same requests in flight per GPU, following
each other alike. The published points are nodes of eight B200, by one node's throughput.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

import orjson

from headrace.simulator.questions import PUBLISHED

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "docs/images/scaling.svg"
GPUS_PER_NODE = 8
LABEL = "Throughput of several GPUs over that of one times their number"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 340, 60, 470, 20, 50
LOWEST, HIGHEST = 0.85, 1.05
MOST_GPUS = 96
WEIGHTS = {"": ", a checkpoint's weights", "random, near zero": "", "random": ""}
"""Older records call the dummy loader's random."""
COLOURS = (
    *("#8b949e", "#0969da", "#1a7f37", "#bc4c00", "#8250df"),
    *("#bf3989", "#b08800", "#0598bc", "#cf222e", "#57606a"),
)
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#57606a}.grid{stroke:#d0d7de}polyline{stroke-width:2}"
    "@media(prefers-color-scheme:dark){text{fill:#adbac7}.grid{stroke:#444c56}}"
)


@dataclass(frozen=True)
class Line:
    """One way to serve: throughput by number of GPUs, the first of which it is measured by."""

    name: str
    tok_s: dict[int, float]

    def efficiency(self, gpus: int) -> float:
        """Share of what so many times the first would be."""
        first = min(self.tok_s)
        return self.tok_s[gpus] * first / (self.tok_s[first] * gpus)


def lines(points: Iterable[dict[str, Any]]) -> list[Line]:
    """The published nodes, then every measured configuration of several replicas."""
    points = list(points)
    found = [
        Line(
            "published: B200, nodes of 8",
            {nodes * GPUS_PER_NODE: tok_s for nodes, tok_s in PUBLISHED.items()},
        )
    ]
    ones: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    ways: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for point in points:
        if point["gpus"] == 1:
            ones[_of_each(point)].append(point["total_tok_s"])
        else:
            ways[_name(point), *_of_each(point)].append(point)
    known = {way: several for way, several in ways.items() if way[1:] in ones}
    names = Counter(name for name, *_ in known)
    for (name, *each), several in known.items():
        tok_s = {point["gpus"]: point["total_tok_s"] for point in several}
        shown = name if names[name] == 1 else f"{name} ({each[0]})"
        found.append(Line(shown, {1: fmean(ones[tuple(each)])} | tok_s))
    return found


def _of_each(point: dict[str, Any]) -> tuple[str, ...]:
    """The sitting, and what each GPU did: alike for one by itself and for one of several."""
    flags = {name: value for name, value in point["flags"].items() if name != "profiler_config"}
    together = 1.0 if point["refill"] == 1 else point["refill"] / point["gpus"]
    load = (point["workload"], point["concurrency"] / point["gpus"], together)
    same = (point["model"], point["engine"], sorted(flags.items()), *load)
    return Path(point["records"][0]).parts[1], *map(str, same)


def _name(point: dict[str, Any]) -> str:
    each = point["refill"] // point["gpus"]
    follow = "one by one" if point["refill"] == 1 else f"{each} at a time each"
    weights = WEIGHTS.get(point["stand_ins"].get("weights", ""), ", realistic weights")
    gateway = "no gateway" if point["direct"] else "behind Envoy"
    way = "one data-parallel server" if point["one_server"] else gateway
    return f"{point['gpu']}{weights}, {follow}, {way}"


def chart(drawn: Sequence[Line]) -> str:
    """An SVG: GPUs on a logarithmic axis, efficiency upwards."""
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(LABEL)}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {box}>', f"<style>{STYLE}</style>", *_axes()]
    for index, line in enumerate(drawn):
        parts += _drawn(line, COLOURS[index % len(COLOURS)], TOP + 14 + 22 * index)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes() -> list[str]:
    parts = []
    right = WIDTH - RIGHT
    for step in range(round((HIGHEST - LOWEST) / 0.05) + 1):
        share = LOWEST + 0.05 * step
        y = _y(share)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.0f}" x2="{right}" y2="{y:.0f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{share:.0%}</text>')
    for gpus in (1, 2, 4, 8, 16, 32, 64, 96):
        x = _x(gpus)
        parts.append(
            f'<text x="{x:.0f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{gpus}</text>'
        )
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 4}" text-anchor="middle">GPUs</text>')
    return parts


def _drawn(line: Line, colour: str, at: float) -> list[str]:
    where = [(_x(gpus), _y(line.efficiency(gpus))) for gpus in sorted(line.tok_s)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in where)
    dots = [f'<circle fill="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in where[1:]]
    x = WIDTH - RIGHT + 20
    named = f'<circle fill="{colour}" cx="{x}" cy="{at - 4:.0f}" r="4"/>'
    text = f'<text x="{x + 12}" y="{at:.0f}">{escape(line.name)}</text>'
    return [f'<polyline fill="none" stroke="{colour}" points="{path}"/>', *dots, named, text]


def _x(gpus: float) -> float:
    return LEFT + (WIDTH - RIGHT - LEFT) * math.log2(gpus) / math.log2(MOST_GPUS)


def _y(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (HIGHEST - share) / (HIGHEST - LOWEST)


def table(drawn: Sequence[Line]) -> str:
    """The same as Markdown."""
    rows = ["| | GPUs | total tok/s | efficiency |", "|---|---|---|---|"]
    for line in drawn:
        rows += [
            f"| {line.name} | {gpus} | {line.tok_s[gpus]:,.0f} | {line.efficiency(gpus):.1%} |"
            for gpus in sorted(line.tok_s)[1:]
        ]
    return "\n".join(rows)


def main() -> None:
    """Write the chart, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("comparison", type=Path, nargs="?", default=HERE / "comparison.json")
    parser.add_argument("-o", "--output", type=Path, default=CHART)
    options = parser.parse_args()
    drawn = lines(orjson.loads(options.comparison.read_bytes())["points"])
    options.output.write_text(chart(drawn), encoding="utf-8")
    print(table(drawn))


if __name__ == "__main__":
    main()
