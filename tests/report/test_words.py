import pytest

from headrace.report.words import (
    bytes_,
    config,
    milliseconds,
    moment,
    number,
    percent,
    plain,
    ratio,
    usd,
)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (number(95_317.4), "95,317"),
        (number(46.24), "46.2"),
        (number(3.14159), "3.14"),
        (number(0.08734), "0.0873"),
        (number(0), "0"),
        (number(None), "–"),
        (number(float("nan")), "–"),
        (milliseconds(9_999), "9,999 ms"),
        (milliseconds(24_720), "24.7 s"),
        (milliseconds(None), "–"),
        (usd(0.0873), "$0.0873"),
        (usd(30), "$30.00"),
        (usd(None), "–"),
        (ratio(0.976), "×0.98"),
        (ratio(None), "–"),
        (percent(0.123), "12.3 %"),
        (bytes_(32 * 1024), "32 KiB"),
        (bytes_(129.6 * 2**30), "130 GiB"),
        (bytes_(0), "0 B"),
        (bytes_(1010 * 2**20), "1,010 MiB"),
        (moment("2026-01-02T03:04:05+01:00"), "2026-01-02 02:04 UTC"),
        (moment("yesterday"), "yesterday"),
        (moment("20260102"), "20260102"),
        (plain(True), "yes"),
        (plain(None), "–"),
        (plain(0.5), "0.5"),
        (plain([1, "a"]), "1, a"),
        (plain({"method": "mtp", "n": 1}), "method mtp, n 1"),
        (config({"tensor_parallel": 1, "kv_dtype": "fp8", "other": 2}), "TP 1 · KV fp8 · other 2"),
    ],
)
def test_numbers_as_people_read_them(said, expected):
    assert said == expected
