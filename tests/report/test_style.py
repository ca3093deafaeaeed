"""Text can be read in both schemes: WCAG's contrast ratio of 4.5 for text, 3 for graphics."""

import re

import pytest

from headrace.report.charts import TONES
from headrace.report.page import HERE

STYLE = (HERE / "assets" / "report.css").read_text()
TEXT = ("ink", "soft", "measured", "predicted", "good", "bad")
GRAPHICS = ("second", "muted", *(f"run{i}" for i in range(TONES)))


def scheme(name):
    """The colours of the first (light) or the second (dark) list of variables."""
    blocks = re.findall(r":root[^{]*\{(.*?)\}", STYLE, re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#\w{6})\b", blocks[("light", "dark").index(name)]))


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_contrast(name):
    colours = scheme(name)
    for paper in ("card", "paper"):
        assert min(contrast(colours[t], colours[paper]) for t in TEXT) >= 4.5
        assert min(contrast(colours[g], colours[paper]) for g in GRAPHICS) >= 3
    assert contrast(colours["warn-ink"], colours["warn-paper"]) >= 4.5
    assert contrast(colours["ink"], colours["code"]) >= 4.5


def test_both_schemes_name_the_same_colours():
    assert set(scheme("light")) == set(scheme("dark"))


def test_the_licence_of_what_is_vendored_stands_beside_it():
    folder = HERE / "assets" / "uplot"
    assert "The MIT License" in (folder / "LICENSE").read_text()
    assert "</script" not in (folder / "uPlot.iife.min.js").read_text()
