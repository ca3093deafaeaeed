"""A view becomes one HTML file that needs no network: styles, scripts and data are inside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from headrace import __version__
from headrace.report.chart import Chart
from headrace.report.data import RunData
from headrace.report.many import ManyPage, many_page
from headrace.report.one import OnePage, one_page

HERE = Path(__file__).parent
STYLES = ("uplot/uPlot.min.css", "report.css")
SCRIPTS = ("uplot/uPlot.iife.min.js", "report.js")


class View(Protocol):
    """What a page's template is given; templates ask for more."""

    @property
    def template(self) -> str:
        """Its file."""

    @property
    def charts(self) -> list[Chart]:
        """All that report.js draws."""


def render(runs: Sequence[RunData]) -> str:
    """The page of one run, or of several side by side."""
    view: OnePage | ManyPage = one_page(runs[0]) if len(runs) == 1 else many_page(runs)
    return rendered(view)


def rendered(view: View) -> str:
    """Any view through its own template."""
    template = _environment().get_template(view.template)
    return template.render(
        view=view,
        version=__version__,
        styles=[_asset(name) for name in STYLES],
        scripts=[_asset(name) for name in SCRIPTS],
        charts=embedded({chart.id: chart.to_json() for chart in view.charts}),
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> Markup:
    """Our own file, trusted as it is."""
    return Markup((HERE / "assets" / name).read_text(encoding="utf-8"))


def embedded(data: Any) -> Markup:
    """JSON that may stand inside a script element: no text in it can end the element."""
    text = orjson.dumps(data).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
