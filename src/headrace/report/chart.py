"""What a chart is, apart from how it is drawn: plain numbers, and the table behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headrace.report.words import number

Style = Literal["line", "area", "bars", "points"]
Format = Literal["count", "share", "ms", "s", "rate"]
Value = float | None


@dataclass(frozen=True)
class Series:
    """One line or set of bars. `tone` names a colour of the style sheet."""

    label: str
    values: Sequence[Value]
    style: Style
    tone: str
    dashed: bool = False


@dataclass(frozen=True)
class Mark:
    """A vertical line at `at`, with its label on the chart."""

    at: float
    label: str
    tone: str


@dataclass(frozen=True)
class Shade:
    """A stretch of the x axis with its own background: full height, or from `low` to `high`."""

    begin: float
    end: float
    label: str
    tone: str = "shade"
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Axis:
    """An axis: what it counts, in which unit, and how its values are written."""

    label: str
    format: Format


@dataclass(frozen=True)
class Table:
    """Rows of text; the first is the row's heading, the others stand right when `numeric`."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: bool = True


@dataclass(frozen=True)
class Parity:
    """Both axes count the same, logarithmically, so that the diagonal is where they agree.

    `low` and `high` are the band around each point, on the y axis. `names` are points by place
    that are to be known by name, the most important first: where two would overlap, it is kept.
    """

    within: float
    """Lines at so large a share above and below the diagonal."""
    low: Sequence[Value]
    high: Sequence[Value]
    names: dict[int, str]

    @property
    def banded(self) -> bool:
        """Some point has a band."""
        return any(value is not None for value in self.low)


@dataclass(frozen=True)
class Chart:
    """A chart over one shared x axis. `notes` says more about each x on hover."""

    id: str
    title: str
    about: str
    """One sentence for those who cannot see the chart, shown to the others as its caption."""
    x: Sequence[float]
    x_axis: Axis
    y_axis: Axis
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()
    shades: tuple[Shade, ...] = ()
    notes: tuple[str, ...] = ()
    top: float | None = None
    """Where the y axis ends, when that is not at the largest value."""
    noted: str = "Configuration"
    """What `notes` are, at the head of their column."""
    parity: Parity | None = None

    def to_json(self) -> dict[str, Any]:
        """What report.js draws; numbers cut to the digits that can be seen."""
        return {
            "x": [_cut(v) for v in self.x],
            "xAxis": vars(self.x_axis),
            "yAxis": vars(self.y_axis),
            "series": [vars(s) | {"values": [_cut(v) for v in s.values]} for s in self.series],
            "marks": [vars(m) | {"at": _cut(m.at)} for m in self.marks],
            "shades": [vars(s) for s in self.shades],
            "notes": self.notes,
            "top": self.top,
            "parity": self._parity_json(),
        }

    def _parity_json(self) -> dict[str, Any] | None:
        parity = self.parity
        if parity is None:
            return None
        band = {"low": [_cut(v) for v in parity.low], "high": [_cut(v) for v in parity.high]}
        return vars(parity) | band | {"names": list(parity.names.items())}

    def table(self) -> Table:
        """The same numbers for those who read rather than look."""
        columns = [self.x_axis.label, *(s.label for s in self.series)]
        rows = [
            [_said(x, self.x_axis), *(_said(s.values[i], self.y_axis) for s in self.series)]
            for i, x in enumerate(self.x)
        ]
        if self.parity and self.parity.banded:
            columns += ["Band from", "to"]
            band = zip(rows, self.parity.low, self.parity.high, strict=True)
            rows = [[*r, _said(a, self.y_axis), _said(b, self.y_axis)] for r, a, b in band]
        if self.notes:
            columns.append(self.noted)
            rows = [[*row, note] for row, note in zip(rows, self.notes, strict=True)]
        return Table(self.title, tuple(columns), tuple(tuple(row) for row in rows))


def values(numbers: Iterable[float]) -> list[Value]:
    """Floats for a series; NaN becomes a gap."""
    return [None if math.isnan(n) else float(n) for n in numbers]


def _cut(value: Value) -> Value:
    return None if value is None else float(f"{value:.5g}")


def _said(value: Value, axis: Axis) -> str:
    if value is None:
        return "–"
    return f"{value * 100:.2f} %" if axis.format == "share" else number(value)
