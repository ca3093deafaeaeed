"""The page of `headrace validate`: what stands on it is what was measured and predicted."""

import json
import re
from pathlib import Path

import pytest

from headrace.perf.constants import load_constants
from headrace.report.validation import METRICS, validation_page
from headrace.validation.cells import Pair, by_cell, pairs_of
from headrace.validation.points import load_points
from tests.report.outline import outline
from tests.report.test_page import charts_of
from tests.report.test_write import headrace

POINTS = Path(__file__).parents[1] / "data" / "points.csv"


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    """Two cells, one of which states throughput too."""
    found, _ = pairs_of(load_points(POINTS), load_constants())
    cells = by_cell(found)
    return [*cells[0], *cells[-1]]


def page_of(pairs, unsupported=()):
    return validation_page(list(pairs), list(unsupported), "points.csv", "headrace validate ...")


def test_every_row_is_a_point_at_what_was_measured_and_predicted(pairs):
    page = page_of(pairs)
    charts = charts_of(page)
    outline(page)
    for number, members in enumerate(sorted(by_cell(pairs), key=len, reverse=True)):
        for metric in METRICS:
            stated = sorted(m for p in members if (m := metric.measured(p)))
            name = f"cell{number}-{metric.field}"
            assert (name in charts) == bool(stated)
            if stated:
                assert charts[name]["x"] == pytest.approx(stated, rel=1e-4)
                check_chart(charts[name], metric, members)


def check_chart(chart, metric, members):
    by_note = {note.split(":")[0]: i for i, note in enumerate(chart["notes"])}
    for pair in members:
        place = by_note[pair.case.id]
        points = [s["values"][place] for s in chart["series"] if s["values"][place] is not None]
        assert points == pytest.approx([metric.predicted(pair)], rel=1e-4)
        if metric.banded:
            low, high = (chart["parity"][edge][place] for edge in ("low", "high"))
            holds = chart["series"][0]["values"][place] is not None
            assert holds == (low <= chart["x"][place] <= high)


def test_the_farthest_off_are_named_first(pairs):
    charts = charts_of(page_of(pairs))
    for chart in charts.values():
        values = [next(v for v in column if v is not None) for column in columns(chart)]
        off = [max(y / x, x / y) for x, y in zip(chart["x"], values, strict=True)]
        named = [off[place] for place, _ in chart["parity"]["names"]]
        assert named == pytest.approx(sorted(off, reverse=True)[: len(named)], rel=1e-3)


def columns(chart):
    return zip(*(s["values"] for s in chart["series"]), strict=True)


def test_text_of_a_row_starts_no_element(pairs, tmp_path):
    head, row = POINTS.read_text().splitlines()[0], "<b>x</b>"
    fields = dict.fromkeys(head.split(","), "")
    fields |= {"id": row, "model": "<i>no</i>", "gpu": "H200", "engine": "vllm", "isl": "1"}
    fields |= {"osl": "1", "tp": "1", "concurrency": "1", "n_gpus": "1"}
    (tmp_path / "points.csv").write_text(f"{head}\n{','.join(fields.values())}\n")
    found, unsupported = pairs_of(load_points(tmp_path / "points.csv"), load_constants())
    page = page_of(found, unsupported)
    assert charts_of(page) == {}
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page


def test_the_verb_writes_the_page_beside_its_answer(tmp_path, monkeypatch, capsys):
    out = tmp_path / "page.html"
    assert headrace(monkeypatch, "validate", POINTS, "-o", out, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    names = re.findall(r"<h2 id=\"cell\d+\">(.*?)</h2>", out.read_text(encoding="utf-8"))
    assert len(names) == len(said["cells"])
    written = out.read_bytes()
    assert headrace(monkeypatch, "validate", POINTS, "-o", out) == 2
    assert "exists" in capsys.readouterr().err
    assert out.read_bytes() == written
