"""The page of `headrace validate`: predicted against measured, a chart and a table per cell."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.report.chart import Axis, Chart, Format, Parity, Series, Table, Value
from headrace.report.page import rendered
from headrace.report.parts import Card
from headrace.report.words import NOTHING, milliseconds, number, percent
from headrace.validation.cells import (
    Cell,
    Pair,
    Unsupported,
    Validation,
    by_cell,
    cell_of,
    summarize,
)

WITHIN = 0.10
NAMED = 3
"""Points of a chart that are labelled."""
WORST = 5
"""Rows of the table beside it."""
IDS = 3
"""Rows that a reason for leaving rows out names."""
ABOUT = (
    "Every point is one measured row: across, what was measured; upwards, what Headrace predicts "
    "for the same model, GPU, settings and load. Above the diagonal the prediction is too high. "
    "A point's band is what a plan would print around it."
)


@dataclass(frozen=True)
class Metric:
    """What is compared. `banded`: a plan prints a band around it."""

    field: str
    name: str
    format: Format
    banded: bool

    def measured(self, pair: Pair) -> float | None:
        """As the row has it."""
        value: float | None = getattr(pair.measured, self.field)
        return value

    def predicted(self, pair: Pair) -> float:
        """As the model has it."""
        return float(getattr(pair.predicted, self.field))

    def said(self, value: float) -> str:
        """With its unit, if it has one."""
        return milliseconds(value) if self.format == "ms" else number(value)


METRICS = (
    Metric("tpot_ms", "TPOT", "ms", banded=True),
    Metric("ttft_ms", "TTFT", "ms", banded=False),
    Metric("total_tok_s", "Total tok/s", "count", banded=True),
)


@dataclass(frozen=True)
class Compared:
    """One metric of one cell."""

    chart: Chart
    worst: Table


@dataclass(frozen=True)
class CellView:
    """One cell; `compared` holds the metrics that its rows state."""

    id: str
    name: str
    compared: list[Compared]


@dataclass(frozen=True)
class ValidationPage:
    """`validation.html.j2`'s view."""

    title: str
    heading: str
    about: str
    cards: list[Card]
    table: Table
    cells: list[CellView]
    left_out: Table
    command: str
    simulated: str = ""
    template: str = field(default="validation.html.j2")

    @property
    def charts(self) -> list[Chart]:
        """All that report.js draws."""
        return [each.chart for cell in self.cells for each in cell.compared]


def validation_page(
    pairs: list[Pair], unsupported: list[Unsupported], source: str, command: str
) -> str:
    """The page as HTML. `source` is what the points are called, `command` makes the page again."""
    found = summarize(pairs, unsupported)
    cells = sorted(((cell_of(rows), rows) for rows in by_cell(pairs)), key=lambda c: -c[0].n)
    view = ValidationPage(
        title=f"Predicted against measured · {source}",
        heading=f"Predicted against measured: {source}",
        about=ABOUT,
        cards=_cards(found, pairs),
        table=_cells_table([cell for cell, _ in cells]),
        cells=[_cell_view(f"cell{i}", cell, rows) for i, (cell, rows) in enumerate(cells)],
        left_out=_left_out(unsupported),
        command=command,
    )
    return rendered(view)


def _cards(found: Validation, pairs: list[Pair]) -> list[Card]:
    banded = [(cell.in_band, cell.n) for cell in found.cells if cell.in_band is not None]
    inside = sum(share * n for share, n in banded) / sum(n for _, n in banded) if banded else None
    worst = max((c for c in found.cells if c.mape_tpot is not None), key=_tpot, default=None)
    cards = [
        Card("Rows predicted", f"{len(pairs):,}", f"of {found.rows:,}", "", ""),
        Card("TPOT", _error(found.mape_tpot), "mean error", "", ""),
        Card("TTFT", _error(found.median_ape_ttft), "median error", "", ""),
        Card("Throughput", _error(found.mape_throughput), "mean error", "", ""),
        Card("In band", NOTHING if inside is None else percent(inside), "of TPOT points", "", ""),
    ]
    if worst is not None:
        cards.append(Card("Worst cell", _error(worst.mape_tpot), "TPOT, mean", worst.name, ""))
    return cards


def _tpot(cell: Cell) -> float:
    return cell.mape_tpot or 0.0


def _error(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f} %"


def _cells_table(cells: list[Cell]) -> Table:
    rows = [
        (
            cell.name,
            str(cell.n),
            _error(cell.mape_tpot),
            _error(cell.median_ape_ttft),
            _error(cell.mape_throughput),
            NOTHING if cell.in_band is None else percent(cell.in_band),
        )
        for cell in cells
    ]
    columns = ("Cell", "Rows", "TPOT, mean", "TTFT, median", "Total tok/s, mean", "TPOT in band")
    caption = "Errors of the predictions: engine, model, GPU, weights"
    return Table(caption, columns, tuple(rows))


def _cell_view(name: str, cell: Cell, pairs: list[Pair]) -> CellView:
    stated = [(m, [p for p in pairs if m.measured(p)]) for m in METRICS]
    compared = [_compared(name, metric, rows) for metric, rows in stated if rows]
    return CellView(name, cell.name, compared)


def _compared(cell: str, metric: Metric, pairs: list[Pair]) -> Compared:
    return Compared(
        _chart(cell, metric, sorted(pairs, key=lambda p: _measured(metric, p))),
        _worst(metric, pairs),
    )


def _chart(cell: str, metric: Metric, pairs: list[Pair]) -> Chart:
    unit = "" if metric.format == "count" else f", {metric.format}"
    return Chart(
        id=f"{cell}-{metric.field}",
        title=f"{metric.name}, predicted against measured",
        about=_about(metric, pairs),
        x=[_measured(metric, p) for p in pairs],
        x_axis=Axis(f"Measured{unit}", metric.format),
        y_axis=Axis(f"Predicted{unit}", metric.format),
        series=_series(metric, pairs),
        notes=tuple(f"{p.case.id}: {_load(p)}; {_signed(metric, p)}" for p in pairs),
        noted="Row",
        parity=Parity(
            within=WITHIN,
            low=_edge(metric, pairs, "low"),
            high=_edge(metric, pairs, "high"),
            names={pairs.index(p): _load(p) for p in _by_error(metric, pairs)[:NAMED]},
        ),
    )


def _series(metric: Metric, pairs: list[Pair]) -> tuple[Series, ...]:
    """Points inside their bands and outside of them, where there are bands."""
    points: list[Value] = [metric.predicted(p) for p in pairs]
    if not metric.banded:
        return (Series("Predicted", points, "points", "second"),)
    inside = [_in_band(metric, p) for p in pairs]
    both = list(zip(points, inside, strict=True))
    return (
        Series("Predicted, band holds", [v if i else None for v, i in both], "points", "second"),
        Series("Predicted, band misses", [None if i else v for v, i in both], "points", "bad"),
    )


def _edge(metric: Metric, pairs: list[Pair], edge: str) -> list[Value]:
    if not metric.banded:
        return [None] * len(pairs)
    return [metric.predicted(p) * float(getattr(p.predicted, edge)) for p in pairs]


def _in_band(metric: Metric, pair: Pair) -> bool:
    return pair.predicted.holds(metric.predicted(pair), _measured(metric, pair))


def _about(metric: Metric, pairs: list[Pair]) -> str:
    near = sum(abs(_off(metric, p)) <= WITHIN for p in pairs)
    said = f"{near} of {len(pairs)} rows within {100 * WITHIN:g} %"
    if not metric.banded:
        return f"{said}. The plan prints no band around it. Both axes are logarithmic."
    held = sum(_in_band(metric, p) for p in pairs)
    return f"{said}, {held} within their band. Both axes are logarithmic."


def _worst(metric: Metric, pairs: list[Pair]) -> Table:
    rows = [
        (
            _load(p),
            metric.said(_measured(metric, p)),
            metric.said(metric.predicted(p)),
            _signed(metric, p),
            p.case.id,
        )
        for p in _by_error(metric, pairs)[:WORST]
    ]
    said = "all rows" if len(pairs) <= WORST else f"the {len(rows)} farthest off of {len(pairs)}"
    columns = ("In / out, in flight, TP", "Measured", "Predicted", "Error", "Row")
    return Table(f"{metric.name}: {said}", columns, tuple(rows))


def _by_error(metric: Metric, pairs: Sequence[Pair]) -> list[Pair]:
    """The farthest off first; twice as much is as far as half as much."""
    return sorted(pairs, key=lambda p: -abs(math.log1p(_off(metric, p))))


def _off(metric: Metric, pair: Pair) -> float:
    return metric.predicted(pair) / _measured(metric, pair) - 1


def _measured(metric: Metric, pair: Pair) -> float:
    value = metric.measured(pair)
    assert value is not None
    return value


def _signed(metric: Metric, pair: Pair) -> str:
    return f"{100 * _off(metric, pair):+.1f}\N{NO-BREAK SPACE}%"


def _load(pair: Pair) -> str:
    case = pair.case
    lengths = f"{number(case.load.input_tokens)} / {number(case.load.output_tokens)}"
    return (
        f"{lengths}, {number(case.concurrency)}, TP\N{NO-BREAK SPACE}{case.config.tensor_parallel}"
    )


def _left_out(unsupported: list[Unsupported]) -> Table:
    reasons = defaultdict(list)
    for row in unsupported:
        reasons[row.reason].append(row.id)
    rows = [
        (reason, f"{len(ids):,}", ", ".join(ids[:IDS]) + (", ..." if len(ids) > IDS else ""))
        for reason, ids in sorted(reasons.items(), key=lambda item: -len(item[1]))
    ]
    return Table("Rows that were not predicted", ("Reason", "Rows", "Which"), tuple(rows), False)
