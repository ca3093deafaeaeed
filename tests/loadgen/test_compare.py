"""Two runs whose difference is known, and what other tools read of a run."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from headrace.cli.main import application
from headrace.errors import InputError
from headrace.loadgen.compare import compare_runs
from headrace.loadgen.export import guidellm_json, vllm_json
from headrace.loadgen.failure import End
from headrace.loadgen.past import load_past
from headrace.loadgen.records import ROW_DTYPE, Records, write_chunks, write_records
from headrace.loadgen.run import summarize
from headrace.loadgen.schedule import Phase
from headrace.loadgen.spec import make_spec
from headrace.loadgen.window import find_window
from tests.loadgen.test_input import VALUES

pytestmark = pytest.mark.compute


def run(folder: Path, *, ttft_s: float, seed: int, requests: int = 400) -> Path:
    """A folder as `bench` leaves it: two in flight, 8 tokens of 10 ms after a TTFT with noise."""
    source = np.random.default_rng(seed)
    rows = np.zeros(requests, ROW_DTYPE)
    ttfts_s = ttft_s * source.uniform(0.8, 1.2, requests)
    at_s = np.zeros(2)
    for place, row in enumerate(rows):
        sent_s = at_s[place % 2]
        row["sent_s"], row["scheduled_s"] = sent_s, sent_s
        row["first_token_s"] = sent_s + ttfts_s[place]
        row["last_token_s"] = row["done_s"] = row["first_token_s"] + 0.07
        at_s[place % 2] = row["done_s"]
    rows["phase"], rows["end"], rows["status"] = Phase.MEASURED, End.OK, 200
    rows["first_content_s"] = np.nan
    rows["asked_tokens"] = rows["output_tokens"] = rows["chunks"] = 8
    rows["prompt_tokens"] = rows["input_tokens"] = 100
    rows["gap_start"] = 7 * np.arange(requests)
    gaps = np.full(7 * requests, 0.01, np.float32)
    ticks = np.array(
        [[0.0, 0, 0, 2, 0, 0, 0, 0, 0], [at_s.max(), 1.0, 8 * requests, 2, requests, 0, 0, 0, 0]]
    )
    found = Records(rows, np.zeros(requests, np.intp), [gaps], [ticks], [np.zeros((1, 2))])
    window = find_window(found, 0.0, None, float(at_s.max()))
    spec = make_spec(**{**VALUES, "concurrency": 2, "requests": requests})
    summary = summarize(spec, found, window, "vllm 0.33.0", [], {})
    folder.mkdir()
    (folder / "summary.json").write_text(summary.model_dump_json())
    write_records(found, window.completed, folder / "records.parquet")
    write_chunks(found, window.completed, folder / "chunks.parquet")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path, Path]:
    return (
        run(tmp_path / "a", ttft_s=0.1, seed=1),
        run(tmp_path / "same", ttft_s=0.1, seed=2),
        run(tmp_path / "slower", ttft_s=0.11, seed=3),
    )


def test_a_real_difference_is_clear_and_inside_its_interval(runs: tuple[Path, ...]) -> None:
    found = compare_runs(load_past(runs[0]), load_past(runs[2]))
    ttft = found.figures["ttft_mean_ms"]
    assert ttft.clear
    assert ttft.low < 10 < ttft.high
    assert ttft.high - ttft.low < 5
    rate = found.figures["output_tok_s"]
    assert rate.difference < 0
    assert rate.low <= rate.difference <= rate.high
    assert found.figures["tpot_p50_ms"].difference == pytest.approx(0, abs=1e-3)


def test_two_runs_of_the_same_are_not_told_apart(runs: tuple[Path, ...]) -> None:
    found = compare_runs(load_past(runs[0]), load_past(runs[1]))
    assert not found.figures["ttft_mean_ms"].clear
    assert not found.figures["total_tok_s"].clear
    assert found.warnings == []


def test_intervals_hold_as_often_as_they_say(tmp_path: Path) -> None:
    """Of 20 pairs without a difference, about 1 should be called clear."""
    past = [load_past(run(tmp_path / str(n), ttft_s=0.1, seed=n, requests=200)) for n in range(7)]
    pairs = [(a, b) for a in past for b in past if int(a.folder.name) < int(b.folder.name)][:20]
    found = [compare_runs(a, b, resamples=200).figures["ttft_mean_ms"] for a, b in pairs]
    assert sum(figure.clear for figure in found) <= 5


def test_too_few_requests_say_so(tmp_path: Path) -> None:
    few = load_past(run(tmp_path / "few", ttft_s=0.1, seed=1, requests=10))
    with pytest.raises(InputError, match="10 completed requests, 20 are needed"):
        compare_runs(few, few)


def test_vllm_json(runs: tuple[Path, ...]) -> None:
    made = vllm_json(load_past(runs[0]))
    assert (made["completed"], made["total_output_tokens"], made["max_concurrency"]) == (
        400,
        3200,
        2,
    )
    assert made["median_ttft_ms"] == pytest.approx(100, rel=0.05)
    assert made["mean_tpot_ms"] == pytest.approx(10)
    assert made["p99_itl_ms"] == pytest.approx(10, rel=1e-4)
    assert len(made["ttfts"]) == len(made["itls"]) == 400
    assert sum(made["itls"][0]) == pytest.approx(0.07, rel=1e-4)


def test_guidellm_json(runs: tuple[Path, ...]) -> None:
    (made,) = guidellm_json(load_past(runs[0]))["benchmarks"]
    metrics = made["metrics"]
    assert metrics["request_totals"]["successful"] == 400
    assert metrics["time_to_first_token_ms"]["successful"]["median"] == pytest.approx(100, rel=0.05)
    assert metrics["inter_token_latency_ms"]["total"]["mean"] == pytest.approx(10)
    assert metrics["output_token_count"]["successful"]["percentiles"]["p99"] == 8
    assert metrics["request_latency"]["errored"]["count"] == 0
    requests = made["requests"]["successful"]
    assert len(requests) == 400
    assert requests[0]["inter_token_latency_ms"] == pytest.approx(10)
    assert requests[0]["request_latency"] == pytest.approx(
        requests[0]["time_to_first_token_ms"] / 1e3 + 0.07
    )


def test_the_verbs(runs: tuple[Path, ...], tmp_path: Path) -> None:
    called = CliRunner().invoke
    shown = called(application("compare"), ["compare", str(runs[0]), str(runs[2]), "--json"])
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["figures"]["ttft_p50_ms"]["difference"] > 5
    file = tmp_path / "out.json"
    arguments = ["export", str(runs[0]), "--format", "guidellm", "-o", str(file)]
    assert called(application("export"), arguments).exit_code == 0
    assert json.loads(file.read_text())["benchmarks"]
    again = called(application("export"), arguments)
    assert isinstance(again.exception, InputError)


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no summary\.json"):
        load_past(tmp_path)
