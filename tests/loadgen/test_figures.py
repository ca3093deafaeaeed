"""Window, metrics and validity on records whose answers are known by hand."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from headrace.loadgen import metrics
from headrace.loadgen.failure import End
from headrace.loadgen.records import ROW_DTYPE, Records, write_records, write_timeline
from headrace.loadgen.run import summarize
from headrace.loadgen.schedule import Phase
from headrace.loadgen.simulated import GIVEN_UP, fell_behind
from headrace.loadgen.spec import make_spec
from headrace.loadgen.trail import TICK_FIELDS
from headrace.loadgen.window import find_window, mean_running, most_running

W, M, F = Phase.WARMUP, Phase.MEASURED, Phase.FILL


def records(*rows: tuple[Phase, End, float, float, float, float]) -> Records:
    """Rows of (phase, end, sent, first, last, done); 10 tokens in, 5 out in 5 chunks, 1 worker."""
    made = np.zeros(len(rows), ROW_DTYPE)
    gaps = []
    for row, (phase, end, sent, first, last, done) in zip(made, rows, strict=True):
        ok = end is End.OK
        row["phase"], row["end"], row["status"] = phase, end, 200 if end is not End.HTTP else 503
        row["scheduled_s"] = sent - 0.5
        row["sent_s"], row["first_token_s"], row["last_token_s"] = sent, first, last
        row["done_s"], row["replica"] = done, b"r1"
        row["prompt_tokens"] = 10
        row["asked_tokens"], row["input_tokens"], row["output_tokens"] = 5, 10 * ok, 5 * ok
        row["chunks"], row["gap_start"] = 5, len(gaps)
        if ok and phase is M:
            gaps += [(last - first) / 4] * 4
    ticks = np.array([[0.0, 0.0, 0, 2, 0, 0, 0, 0, 0], [10.0, 5.0, 1000, 2, 5, 1, 0, 0, 250]])
    lags = np.array([[1.0, 0.001], [5.0, 0.003], [11.0, 9.0]])
    gaps_s = [np.array(gaps, np.float32)]
    return Records(made, np.zeros(len(rows), np.intp), gaps_s, [ticks], [lags])


UNTIMED, VAGUE = TICK_FIELDS.index("untimed"), TICK_FIELDS.index("vague")
NAN = float("nan")
ROWS = (
    (W, End.OK, 0.0, 1.0, 1.5, 2.0),
    (W, End.HTTP, 0.0, NAN, NAN, 3.0),
    (M, End.OK, 2.0, 3.0, 5.0, 5.0),
    (M, End.OK, 3.0, 4.0, 8.0, 8.0),
    (M, End.CUT_STREAM, 5.0, 6.0, 6.5, 7.0),
    (M, End.CONNECT, NAN, NAN, NAN, 7.5),
    (F, End.OK, 5.0, 6.0, 7.0, 7.5),
    (F, End.CUT, 8.0, NAN, NAN, 9.0),
)


def spec(**changes: Any) -> Any:
    values = {"urls": ["http://h"], "model": "m", "input_tokens": 10, "output_tokens": 5}
    return make_spec(**{**values, "concurrency": 2, "requests": 4, **changes})


def test_counted_out_requests_all_count_from_the_end_of_the_warm_up() -> None:
    window = find_window(records(*ROWS), 3.0, None, 9.0)
    assert (window.start_s, window.end_s) == (3.0, 8.0)
    assert window.completed.tolist() == [False, False, True, True, *[False] * 4]
    assert window.failed.sum() == 2


def test_a_first_completion_before_the_end_of_the_warm_up_opens_the_window() -> None:
    window = find_window(records(*ROWS), 6.0, None, 9.0)
    assert window.start_s == 5.0
    assert window.completed.sum() == 2


def test_a_duration_counts_what_ended_inside_it() -> None:
    window = find_window(records(*ROWS), 6.0, 1.2, 9.0)
    assert (window.start_s, window.end_s) == (6.0, 7.2)
    assert window.completed.sum() == 0
    assert window.failed.tolist().index(True) == 4
    assert window.failed.sum() == 1


def test_a_load_stopped_in_its_warm_up_has_an_empty_window() -> None:
    window = find_window(records(*ROWS[:2]), None, 60.0, 9.0)
    assert window.duration_s == 0
    assert window.completed.sum() == window.failed.sum() == 0


def test_concurrency_is_weighted_by_time() -> None:
    found = records(*ROWS)
    window = find_window(found, 3.0, None, 9.0)
    # 2..5 and 3..8 measured, 5..7 cut stream, 5..7.5 fill; the window is 3..8
    assert mean_running(found, window) == pytest.approx((2 + 5 + 2 + 2.5) / 5)
    assert most_running(found, window) == 3


def test_latencies_of_closed_and_open_loop() -> None:
    found = records(*ROWS)
    chosen = find_window(found, 3.0, None, 9.0).completed
    closed = metrics.request_times(found, chosen, open_loop=False)
    assert closed.ttft_ms.tolist() == [1000.0, 1000.0]
    assert closed.tpot_ms.tolist() == [500.0, 1000.0]
    assert closed.e2e_ms.tolist() == [3000.0, 5000.0]
    opened = metrics.request_times(found, chosen, open_loop=True)
    assert opened.ttft_ms.tolist() == [1500.0, 1500.0]
    assert opened.tpot_ms.tolist() == closed.tpot_ms.tolist()


def test_goodput_needs_every_goal_and_counts_failures_against_it() -> None:
    found = records(*ROWS)
    chosen = find_window(found, 3.0, None, 9.0).completed
    times = metrics.request_times(found, chosen, open_loop=False)
    slo = {"ttft_p99_ms": 1000.0, "tpot_p99_ms": 600.0}
    good = metrics.goodput(times, slo, failed=2, duration_s=5.0)
    assert good is not None
    assert (good.share, good.request_s) == (0.25, 0.2)
    assert metrics.goodput(times, {}, 2, 5.0) is None


def test_the_summary_adds_up() -> None:
    found = records(*ROWS)
    window = find_window(found, 3.0, None, 9.0)
    made = summarize(spec(usd_per_hour=21.6), found, window, "unknown", [], {"http_503": "no"})
    assert made.requests.asked == made.requests.completed + made.requests.failed == 4
    assert made.requests.errors == {"connect": 1, "cut_stream": 1}
    assert (made.requests.warmup, made.requests.cut) == (2, 1)
    assert (made.tokens.input, made.tokens.output) == (20, 10)
    assert made.throughput.total_tok_s == pytest.approx(6.0)
    assert made.usd_per_million_tokens == pytest.approx(1000.0)
    assert made.client.chunks == 500
    assert made.client.compiled == pytest.approx(0.25)
    assert made.client.cpu_s == pytest.approx(2.5)
    assert made.client.lag_ms.p99 == pytest.approx(3.0)
    assert made.per_replica == {"r1": 2}
    assert made.latency_ms is not None
    assert made.latency_ms.itl.mean == pytest.approx(750.0)
    assert not made.valid
    assert any("2 of 4 requests failed" in reason for reason in made.invalid_reasons)


def reasons(found: Records, troubles: tuple[str, ...] = (), **changes: Any) -> str:
    window = find_window(found, 3.0, changes.get("duration_s"), 9.0)
    made = summarize(spec(**changes), found, window, "unknown", list(troubles), {})
    assert made.valid is (not made.invalid_reasons)
    return " | ".join(made.invalid_reasons)


STEADY = (
    (W, End.OK, 0.0, 1.0, 1.5, 3.0),
    (W, End.OK, 0.0, 1.0, 1.5, 3.0),
    (M, End.OK, 3.0, 4.0, 8.0, 8.0),
    (M, End.OK, 3.0, 4.0, 8.0, 8.0),
)


def test_a_steady_run_is_valid() -> None:
    assert reasons(records(*STEADY), requests=2) == ""


def test_reasons_against_a_run() -> None:
    steady = records(*STEADY)
    assert "2.0 requests in flight" in reasons(steady, concurrency=3)
    assert reasons(steady, concurrency=3, start="together") == ""
    longer = records(*STEADY)
    longer.rows["prompt_tokens"] = 11
    assert "counted 10 prompt tokens on average, 11 were sent" in reasons(longer)
    doubled = records(*STEADY)
    doubled.rows["chunks"] = 10
    assert "more chunks than it counted tokens" in reasons(doubled)
    assert "interrupted" in reasons(steady, ("interrupted",))
    assert "shorter than one request" in reasons(
        records(*STEADY[:2], (M, End.OK, 2.0, 3.0, 4.0, 4.5)), requests=None, duration_s=2.0
    )
    assert "warm-up: 1 http_503" in reasons(records(ROWS[1]))
    assert "all 1 failed" in reasons(records(ROWS[4]))


def test_a_late_or_busy_client_makes_the_run_invalid() -> None:
    late = records(*STEADY)
    late.lags[0][1, 1] = 0.5
    assert reasons(late) == ""
    assert "client was late: lag" in reasons(late, concurrency=None, request_rate=2.0)
    late.ticks[0][1, UNTIMED] = 20
    assert "client was late: lag" in reasons(late)
    merged = records(*STEADY)
    merged.ticks[0][1, VAGUE] = 20
    assert reasons(merged) == ""
    merged.lags[0][1, 1] = 0.5
    assert "2.0% of the chunks merged" in reasons(merged)
    busy = records(*STEADY)
    busy.ticks[0][1, 1] = 9.9
    assert "99% of its processor" in reasons(busy)


def test_answers_of_one_token_have_no_tpot(tmp_path: Path) -> None:
    found = records((M, End.OK, 0.0, 1.0, 1.0, 1.0))
    found.rows["output_tokens"] = found.rows["chunks"] = 1
    times = metrics.request_times(found, found.ended(End.OK), open_loop=False)
    assert np.isnan(times.tpot_ms).all()
    shown = metrics.latency(times, found.gaps_by_row(found.ended(End.OK)))
    assert shown is not None
    assert shown.tpot.max == shown.itl.max == 0.0


def test_parquet_files(tmp_path: Path) -> None:
    found = records(*ROWS)
    window = find_window(found, 3.0, None, 9.0)
    path = tmp_path / "it's.parquet"
    write_records(found, window.completed, path)
    write_timeline(found, tmp_path / "timeline.parquet")
    with duckdb.connect() as database:
        rows = database.execute(
            "select phase, error, status, sent_s, replica, counted from read_parquet(?)",
            [str(path)],
        ).fetchall()
        bins = database.execute(
            "select at_s, output_tok_s, running from read_parquet(?)",
            [str(tmp_path / "timeline.parquet")],
        ).fetchall()
    assert rows[0] == ("warmup", None, 200, 0.0, "r1", False)
    assert ("warmup", "http_503", 503, 0.0, "r1", False) in rows
    assert ("measured", "connect", 200, None, "r1", False) in rows
    assert ("fill", "cut", 200, 8.0, "r1", False) in rows
    assert sum(row[-1] for row in rows) == 2
    assert len(bins) == 40
    assert bins[0] == (0.25, 100.0, 2)


def test_a_simulated_engine_that_fell_behind_is_a_reason() -> None:
    assert fell_behind(1.0, 1.05, 10.0) == []
    assert "fell 2.0 s behind" in fell_behind(1.0, 3.0, 10.0)[0]
    page = b'x 1\nheadrace_simulated_lag_seconds_given_up{engine="0",model_name="m"} 2.5\n'
    assert GIVEN_UP.findall(page) == [b"2.5"]
