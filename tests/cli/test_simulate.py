"""`headrace simulate` as a user calls it."""

import json
import sys
from pathlib import Path

import pytest

from headrace.cli.main import main

pytestmark = pytest.mark.compute

FLEET = """
name: tiny
model: Qwen/Qwen3.5-27B-FP8
hardware: {gpu: B200, nodes: 2, gpus_per_node: 2}
workload: {input_tokens: 64, output_tokens: 32, concurrency: 64}
slo: {tpot_p99_ms: 60, ttft_p99_ms: 10000}
engine:
  version: 0.33.0
  args: {tensor_parallel_size: 1, max_num_seqs: 64, max_num_batched_tokens: 8192}
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return path


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["headrace", "simulate", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def ask(fleet, tmp_path, monkeypatch, capsys):
    def asked(*words: object) -> dict:
        options = ["--duration", 5, "--json", "-o", tmp_path / "out", "--force"]
        assert call(monkeypatch, fleet, *words, *options) == 0
        return json.loads(capsys.readouterr().out)

    return asked


def test_the_load_of_the_file(ask, tmp_path):
    found = ask()
    assert found["kind"] == "simulated"
    assert found["total_tok_s"] > 0
    assert found["latency_ms"]["tpot"]["p99"] >= found["latency_ms"]["tpot"]["p50"] > 0
    assert found["requests"]["failed"] == 0
    assert found["simulated_s"] == 5
    assert json.loads((tmp_path / "out" / "simulation.json").read_text()) == found
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<title>Simulated" in page


def test_scaling(ask):
    rows = ask("--nodes", "1,2,3")["scaling"]
    assert [row["nodes"] for row in rows] == [1, 2, 3]
    assert [row["gpus"] for row in rows] == [2, 4, 6]
    assert rows[0]["efficiency"] == 1
    assert all(0.9 < row["efficiency"] < 1.1 for row in rows)
    assert all(row["published_total_tok_s"] is None for row in rows)


def chart(tmp_path: Path, name: str) -> dict:
    """A chart of the page, as report.js draws it."""
    page = (tmp_path / "out" / "report.html").read_text()
    data = page.partition('id="charts"')[2].partition(">")[2].partition("</script>")[0]
    drawn: dict = json.loads(data)[name]
    return drawn


def test_all_policies_the_best_first(ask, tmp_path):
    rows = ask("--policy", "all")["policies"]
    assert {row["policy"] for row in rows} == {
        "random-connection",
        "round-robin",
        "least-request",
        "affinity",
    }
    shares = [row["share"] for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1
    assert "one picker" in rows[-1]["settings"]
    drawn = chart(tmp_path, "policies")
    lost = [v for series in drawn["series"] for v in series["values"] if v is not None]
    assert sorted(lost) == pytest.approx(sorted(1 - share for share in shares), abs=1e-3)
    assert len(drawn["notes"]) == len(rows)


def test_a_failure_has_a_history(ask):
    found = ask("--fail", "1@2s", "--start-time", 1)
    assert [event["ready"] for event in found["events"]] == [2, 4, 4]
    assert found["requests"]["failed"] > 0
    assert min(found["timeline"]["ready"]) == 2


def test_a_rate_sweep(ask):
    rows = ask("--rate-sweep")["rates"]
    asked = [row["asked_request_s"] for row in rows]
    assert asked == sorted(asked)
    assert rows[0]["keeps_slo"]


def test_fewest_gpus_have_a_spare_node(ask, tmp_path):
    (row,) = ask("--gpus-for", "30k", "--spare", 1)["sizes"]
    assert row["feasible"]
    assert row["nodes"] >= 2
    assert row["gpus"] == 2 * row["nodes"]
    assert row["after_loss"]["latency_ms"]["tpot"]["p99"] <= 60
    assert row["usd_per_million_tokens"] > 0
    carried = [tried["nodes"] for tried in row["tries"] if tried["carries"]]
    assert min(carried) == row["nodes"] - 1
    drawn = chart(tmp_path, "sizes-tpot")
    assert drawn["x"] == sorted(tried["gpus"] for tried in row["tries"])
    assert [series["label"] for series in drawn["series"]] == ["B200", "Goal"]


def test_a_day_costs_less_at_night(ask, tmp_path):
    day = tmp_path / "day.csv"
    day.write_text("hour,requests_s\n0,2\n1,40\n")
    hours = ask("--daily", day, "--start-time", 30, "--spare", 0)["hours"]
    assert [hour["hour"] for hour in hours] == [0, 1]
    assert hours[0]["usd"] <= hours[1]["usd"]
    assert hours[0]["completed"] < hours[1]["completed"]


def test_a_trace_and_disaggregated_replicas(ask, tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("sent_s,input_tokens,output_tokens\n0.5,100,10\n0.1,50,20\n")
    found = ask("--trace", trace, "--prefill-share", 0.5)
    assert found["requests"]["completed"] == 2


def test_a_region_serves_another_only_when_that_one_is_gone(ask):
    near = ask("--regions", 2)
    assert near["latency_ms"]["ttft"]["p99"] < 80
    gone = ask("--regions", 2, "--fail", "1@0.5")
    assert gone["latency_ms"]["ttft"]["max"] > 80


def test_prompts_that_share_prefixes(ask, fleet):
    fleet.write_text(
        FLEET.replace("{input_tokens: 64,", "{input_tokens: 1024, prefix_hit_rate: 0.9,")
    )
    options = ["--prefix-groups", 4, "--rate", 40, "--policy", "affinity"]
    found = ask(*options)
    assert found["requests"]["completed"] > 0
    assert any("4 prefixes" in line for line in found["assumptions"])


def talking(fleet: Path, load: str) -> None:
    fleet.write_text(
        FLEET.replace(
            "{input_tokens: 64, output_tokens: 32, concurrency: 64}",
            "{input_tokens: 1024, output_tokens: 32, " + load + "}",
        )
    )


def test_users_in_conversation(ask, fleet):
    talking(fleet, "concurrency: 64, conversation: {turns: 4, think_time_s: 1}")
    found = ask("--policy", "all")
    hits = {row["policy"]: row["figures"]["prefix_hit_rate"] for row in found["policies"]}
    assert hits["affinity"] > 0
    assert any("64 users in conversations of 4 turns" in line for line in found["assumptions"])


@pytest.mark.parametrize(
    ("load", "options", "said"),
    [
        ("request_rate: 5, conversation: {turns: 4}", [], "--concurrency"),
        ("concurrency: 64, conversation: {turns: 4}", ["--rate-sweep"], "--rate-sweep"),
        ("concurrency: 64, conversation: {turns: 4}", ["--nodes", "5000"], "fewer nodes"),
    ],
)
def test_what_conversations_cannot_answer(
    load, options, said, fleet, tmp_path, monkeypatch, capsys
):
    talking(fleet, load)
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, fleet, *options) == 2
    assert said in capsys.readouterr().err


def test_the_reference_gives_the_same_figures(ask):
    quick, slow = ask(), ask("--reference")
    assert slow["quick"] is False
    assert slow["total_tok_s"] == pytest.approx(quick["total_tok_s"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--nodes", "1,x"], "1,2,4,8,12"),
        (["--policy", "fair"], "least-request"),
        (["--fail", "2"], "2@60s"),
        (["--fail", "3@1"], "the fleet has 2 nodes"),
        (["--gpus-for", "many"], "1.1M"),
        (["--gpus-for", "1M", "--gpu", "B300X"], "B300X"),
        (["--gpu", "H100"], "--gpus-for"),
        (["--nodes", "1", "--rate-sweep"], "one question"),
        (["--nodes", "1", "--fail", "1@1"], "one of them"),
        (["--duration", "0"], "above 0"),
        (["--rate", "-1"], "above 0"),
        (["--daily", "nowhere.csv"], "nowhere.csv"),
        (["--trace", "nowhere.csv"], "nowhere.csv"),
        (["--prefix-groups", "5"], "prefix_hit_rate"),
        (["--prefill-share", "1.5"], "between 0 and 1"),
        (["--prefill-share", "0.01"], "none for one of the roles"),
    ],
)
def test_bad_input_ends_in_one_message(options, said, fleet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, fleet, *options) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert "Traceback" not in told.err
    assert [*tmp_path.glob("runs/*")] == []
    assert told.out == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "heading"),
        ("sent_s,input_tokens,output_tokens\n", "no row"),
        ("sent_s,input_tokens,output_tokens\n0,a,1\n", "trace.csv:2"),
        ("sent_s,input_tokens,output_tokens\n0,0,1\n", "from 1 on"),
    ],
)
def test_a_bad_trace_is_refused(text, said, fleet, tmp_path, monkeypatch, capsys):
    trace = tmp_path / "trace.csv"
    trace.write_text(text)
    assert call(monkeypatch, fleet, "--trace", trace) == 2
    assert said in capsys.readouterr().err
