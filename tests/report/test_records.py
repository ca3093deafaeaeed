import duckdb
import numpy as np
import pytest

from headrace.errors import InputError
from headrace.loadgen.summary import Summary
from headrace.report.records import load_records, load_timeline


def test_latencies_agree_with_the_summary(runs):
    records = load_records(runs / "real" / "records.parquet")
    summary = Summary.model_validate_json((runs / "real" / "summary.json").read_text())
    measured = records.measured
    assert summary.latency_ms is not None
    assert len(measured) == summary.requests.completed
    assert measured.output_tokens.sum() == summary.tokens.output
    for name in ("ttft", "tpot", "e2e"):
        values = getattr(measured, f"{name}_ms")
        assert np.percentile(values, 99) == pytest.approx(getattr(summary.latency_ms, name).p99)


def test_open_loop_counts_from_the_schedule(tmp_path):
    path = table(tmp_path / "r.parquet", "1.0 AS scheduled_s")
    assert load_records(path).ttft_ms == pytest.approx([500])
    assert load_records(path, open_loop=True).ttft_ms == pytest.approx([1500])


def test_columns_that_may_be_missing(tmp_path):
    records = load_records(table(tmp_path / "r.parquet", "1 AS worker"))
    assert records.counted.tolist() == [True]
    assert records.replica.tolist() == [""]
    assert np.isnan(records.chunks).all()


def test_failed_requests_are_not_measured(tmp_path):
    records = load_records(table(tmp_path / "r.parquet", "'http_500' AS error"))
    assert len(records.measured) == 0
    assert records.delivered()[1].tolist() == [0]


def test_a_cut_request_is_charged_as_far_as_it_came(tmp_path):
    done = "NULL AS error, 64 AS chunks, 128 AS asked_tokens"
    path = table(tmp_path / "r.parquet", done, "'cut' AS error, 16 AS chunks, 128 AS asked_tokens")
    taken, given = load_records(path).delivered()
    assert given.tolist() == [128, 32]
    assert taken.tolist() == [1000, 250]


def test_brackets_in_a_path_are_no_pattern(tmp_path):
    folder = tmp_path / "run [1]*?"
    folder.mkdir()
    assert len(load_records(table(folder / "records.parquet", "1 AS worker"))) == 1


def test_a_missing_column_is_named(tmp_path):
    path = tmp_path / "records.parquet"
    duckdb.sql("SELECT 'measured' AS phase, 1.0 AS sent_s").write_parquet(str(path))
    with pytest.raises(InputError, match=r"records\.parquet lacks the columns first_token_s, last"):
        load_records(path)


@pytest.mark.parametrize("load", [load_records, load_timeline])
def test_what_is_no_parquet_file_is_an_input_error(tmp_path, load):
    path = tmp_path / "records.parquet"
    path.write_bytes(b"not parquet at all, but long enough")
    with pytest.raises(InputError, match="cannot read") as caught:
        load(path)
    assert caught.value.hint is not None


def test_the_timeline_has_no_fill_values(tmp_path):
    path = tmp_path / "timeline.parquet"
    duckdb.sql("SELECT 0.25 AS at_s, NULL::DOUBLE AS output_tok_s").write_parquet(str(path))
    assert np.isnan(load_timeline(path).output_tok_s).all()


def table(path, *extras):
    """A parquet file with one finished request per text of further columns."""
    rows = " UNION ALL ".join(
        f"SELECT 'measured' AS phase, 2.0 AS sent_s, 2.5 AS first_token_s, 4.5 AS last_token_s, "
        f"4.6 AS done_s, 1000 AS input_tokens, 128 AS output_tokens, {extra}"
        for extra in extras
    )
    duckdb.sql(rows).write_parquet(str(path))
    return path
