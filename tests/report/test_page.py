import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headrace.report.data import load_run
from headrace.report.page import embedded, render
from headrace.report.words import milliseconds, number
from tests.report.outline import outline
from tests.report.synthetic import SMALL, write_run

GOLDEN = Path(__file__).parents[1] / "golden" / "report"


def page_of(*folders):
    return render([load_run(folder) for folder in folders])


def charts_of(page):
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page)
    assert found is not None
    return json.loads(found[1])


@pytest.mark.parametrize(
    ("golden", "names"),
    [
        ("simulated", ["simulated"]),
        ("real", ["real"]),
        ("bench", ["bench"]),
        ("compared", ["simulated", "real", "bench"]),
    ],
)
def test_structure(runs, golden, names):
    page = page_of(*(runs / name for name in names))
    assert outline(page) == (GOLDEN / f"{golden}.txt").read_text(encoding="utf-8")


def test_simulated_is_in_title_header_and_cards(runs):
    page = page_of(runs / "simulated")
    assert "<title>Simulated · made-up on 2 × B200</title>" in page
    assert '<span class="tag">Simulated</span> made-up on 2 × B200</h1>' in page
    assert page.count('<p class="kind simulated">simulated GPUs</p>') == 6
    assert 'class="banner"' in page


def test_a_real_run_is_not_called_simulated(runs):
    assert "simulated" not in outline(page_of(runs / "real")).lower()
    assert 'class="banner"' not in page_of(runs / "real")


def test_partly_simulated_runs_are_marked_one_by_one(runs):
    page = page_of(runs / "simulated", runs / "real")
    assert "<title>Partly simulated · 2 runs side by side</title>" in page
    assert "Only in part: simulated." in page
    both = page_of(runs / "simulated", runs / "simulated")
    assert "<title>Simulated · 2 runs side by side</title>" in both


def test_the_headline_numbers_are_the_summarys(runs):
    summary = load_run(runs / "real").summary
    assert summary is not None
    assert summary.latency_ms is not None
    page = page_of(runs / "real")
    for value in (
        number(summary.throughput.total_tok_s),
        number(summary.throughput.output_tok_s),
        milliseconds(summary.latency_ms.tpot.mean),
        milliseconds(summary.latency_ms.ttft.mean),
    ):
        assert f'<p class="figure">{value}</p>' in page


def test_invalid_runs_say_why(tmp_path):
    folder = write_run(tmp_path / "run", replace(SMALL, invalid_reasons=("the client lagged",)))
    page = page_of(folder)
    assert "Not a valid measurement<ul><li>the client lagged</li></ul>" in page
    assert "Valid measurement" not in page


def test_a_missed_goal_is_said(tmp_path):
    page = page_of(write_run(tmp_path / "run", replace(SMALL, tpot_s=0.08)))
    assert "Goal missed: TPOT p99" in page
    assert "Goal kept: TTFT p99" in page


def test_a_plan_alone_is_all_predicted(runs, tmp_path):
    shutil.copy(runs / "real" / "plan.json", tmp_path)
    page = page_of(tmp_path)
    assert "<title>Plan · made-up on 2 × B200</title>" in page
    assert "Not measured: every figure here is predicted" in page
    assert page.count('<p class="kind predicted">predicted</p>') == 6
    assert set(charts_of(page)) == {"pareto"}
    assert charts_of(page)["pareto"]["series"][2]["values"].count(None) == 15


def test_without_records_the_summary_is_enough(runs, tmp_path):
    shutil.copy(runs / "real" / "summary.json", tmp_path)
    page = page_of(tmp_path)
    assert charts_of(page) == {}
    assert "no records.parquet" in page
    assert "Requests completed by each replica" in page


def test_what_the_gpus_did_is_a_table_and_a_fact_of_the_cost(runs, tmp_path):
    shutil.copytree(runs / "real", tmp_path / "run")
    path = tmp_path / "run" / "summary.json"
    assert 'id="gpus"' not in page_of(tmp_path / "run")
    summary = json.loads(path.read_text())
    gpu = {"node": "local", "name": "NVIDIA H200", "busy_percent": 99.6, "power_w": 693.2}
    gpu |= {"power_limit_w": 700.0, "power_limited": 0.96}
    gpu |= {"clock_mhz": 1507.4, "clock_max_mhz": 1980}
    silent = dict.fromkeys(("power_limited", "clock_mhz", "clock_max_mhz"))
    summary["gpus"] = [gpu | {"index": 0}, gpu | silent | {"index": 1}]
    path.write_text(json.dumps(summary))
    page = page_of(tmp_path / "run")
    row = page.partition("local/0 NVIDIA H200")[2].partition("</tr>")[0]
    for cell in ("100 %", "1,507", "1,980", "693", "700", "96.0 %"):
        assert f"<td>{cell}</td>" in row
    kwh = 2 * 693.2 / summary["throughput"]["total_tok_s"] / 3.6
    assert f"{number(kwh)} kWh" in page


def test_no_request_completed(runs, tmp_path):
    summary = json.loads((runs / "real" / "summary.json").read_text())
    summary |= {"latency_ms": None, "valid": False, "invalid_reasons": ["nothing completed"]}
    summary |= {"usd_per_million_tokens": None, "per_replica": {}, "goodput": None, "plan": None}
    errors = {"completed": 0, "errors": {"connect": 3}, "examples": {"connect": "refused"}}
    summary["requests"] |= errors
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    shutil.copy(runs / "real" / "plan.json", tmp_path)
    page = page_of(tmp_path)
    assert "no request completed" in page
    assert "<dt>connect</dt><dd>3: refused</dd>" in page
    page_of(tmp_path, runs / "real")


def test_throughput_over_time_has_the_measured_rate(tmp_path):
    story = replace(SMALL, in_flight=32, duration_s=20.0, failures=0)
    folder = write_run(tmp_path / "run", story)
    summary = load_run(folder).summary
    assert summary is not None
    chart = charts_of(page_of(folder))["throughput"]
    window = next(s for s in chart["shades"] if s["label"] == "measured window")
    assert window["end"] - window["begin"] == pytest.approx(summary.duration_s)

    inside = [window["begin"] <= x <= window["end"] for x in chart["x"]]
    total, output = (np.mean(np.array(chart["series"][i]["values"])[inside]) for i in (0, 1))
    assert total == pytest.approx(summary.throughput.total_tok_s, rel=0.05)
    assert output == pytest.approx(summary.throughput.output_tok_s, rel=0.05)


def test_histograms_hold_all_measured_requests(runs):
    charts = charts_of(page_of(runs / "real"))
    for name in ("ttft", "tpot", "e2e"):
        assert sum(charts[name]["series"][0]["values"]) == pytest.approx(1, rel=1e-3)
    assert [mark["label"] for mark in charts["tpot"]["marks"]] == ["p50", "p99", "predicted mean"]
    assert [mark["label"] for mark in charts["e2e"]["marks"]] == ["p50", "p99"]


def test_every_chart_has_a_place_a_name_and_its_numbers(runs):
    for folders in ([runs / "real"], [runs / "real", runs / "simulated"]):
        page = page_of(*folders)
        charts = charts_of(page)
        assert sorted(re.findall(r'data-chart="([^"]+)"', page)) == sorted(charts)
        for name, chart in charts.items():
            assert f'id="{name}-title"' in page
            assert all(len(s["values"]) == len(chart["x"]) for s in chart["series"])
        assert page.count("<summary>Numbers behind this chart</summary>") == len(charts)


def test_text_of_a_run_cannot_end_an_element_or_start_one(runs, tmp_path):
    evil = "</script><script>alert(1)</script><img src=x>"
    folder = shutil.copytree(runs / "real", tmp_path / "run")
    plan = json.loads((folder / "plan.json").read_text())
    plan["chosen"]["why"] = [evil]
    plan["pareto"][0]["config"] = {"lever": evil}
    (folder / "plan.json").write_text(json.dumps(plan))
    summary = json.loads((folder / "summary.json").read_text())
    summary["environment"] = {evil: evil}
    (folder / "summary.json").write_text(json.dumps(summary))
    page = page_of(folder)
    assert "alert(1)</script>" not in page
    assert "<img" not in page
    assert charts_of(page)["pareto"]["notes"][0] == f"lever {evil}"


def test_embedded_json_is_still_json():
    data = {"a": "</script>&\u2028\u2029<!--", "b": [1.5, None]}
    text = str(embedded(data))
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == data


def test_no_address_is_fetched_and_the_page_is_small(runs):
    for folders in ([runs / "real"], [runs / "real", runs / "simulated", runs / "bench"]):
        page = page_of(*folders)
        assert not re.findall(r'(?:src|href|action)="(?!#|data:,)', page)
        assert not re.findall(r"@import|url\(", page)
        assert "default-src 'none'" in page
        assert len(page.encode()) < 300_000


def test_the_charts_of_a_long_run_stay_small(tmp_path):
    long = replace(SMALL, duration_s=900.0)
    page = page_of(write_run(tmp_path / "long", long))
    assert len(charts_of(page)["throughput"]["x"]) <= 151
    assert len(page.encode()) < 300_000


def test_ratios_are_against_the_first_run(tmp_path):
    slow = write_run(tmp_path / "slow", replace(SMALL, tpot_s=0.05, ttft_s=1.0, duration_s=40))
    quick = write_run(tmp_path / "quick", replace(SMALL, tpot_s=0.025, ttft_s=0.5, duration_s=40))
    rows = re.findall(r"<tr><th scope=\"row\">Total tok/s</th>.*?</tr>", page_of(slow, quick))
    assert re.search(r"×(1\.\d\d|2\.[01]\d) better", rows[0])
    rows = re.findall(r"<tr><th scope=\"row\">TPOT, mean</th>.*?</tr>", page_of(quick, slow))
    assert re.search(r"×(1\.9\d|2\.0\d) worse", rows[0])


def test_the_same_folder_twice_keeps_apart(runs):
    page = page_of(runs / "real", runs / "real")
    assert "real #1" in page
    assert "real #2" in page
