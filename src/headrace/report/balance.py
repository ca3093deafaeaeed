"""How evenly the replicas were loaded."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.report.chart import Table
from headrace.report.data import RunData
from headrace.report.parts import Bar
from headrace.report.series import ReplicaShare, natural_key, replica_shares, spread
from headrace.report.words import number, percent

MOST_BARS = 32
"""More replicas than this are shown by their extremes."""
NO_NAMES = (
    "The answers did not say which replica gave them, so the balance between replicas is not known."
)


@dataclass(frozen=True)
class Balance:
    """Bars and table of completed requests per replica. `about` says how even they are."""

    about: str
    bars: list[Bar]
    table: Table | None


def balance(run: RunData) -> Balance:
    """From the records where they name replicas, else from the summary's counts."""
    shares = _shares(run)
    even = spread([row.completed for row in shares])
    if even is None:
        return Balance(NO_NAMES, [], None)
    ranked = sorted(shares, key=lambda row: row.completed)
    bars = shares
    left_out = ""
    if len(shares) > MOST_BARS:
        bars = ranked[: MOST_BARS // 2] + ranked[-MOST_BARS // 2 :]
        left_out = f" Shown: the {MOST_BARS // 2} least and the {MOST_BARS // 2} most loaded."
    return Balance(
        f"{len(shares)} replicas, {number(even.mean)} requests each on average, from "
        f"{number(even.least)} to {number(even.most)}; deviation {percent(even.deviation)}."
        + left_out,
        [Bar(r.id, f"{r.completed:,}", 100 * r.completed / even.most) for r in bars],
        _table(shares),
    )


def _shares(run: RunData) -> list[ReplicaShare]:
    if run.records is not None:
        done = run.records.measured
        shares = replica_shares(done.replica, done.output_tokens, done.ttft_ms, done.tpot_ms)
        if shares:
            return shares
    counts = run.summary.per_replica if run.summary else {}
    nan = float("nan")
    return [
        ReplicaShare(name, counts[name], 0, nan, nan) for name in sorted(counts, key=natural_key)
    ]


def _table(shares: list[ReplicaShare]) -> Table:
    rows = tuple(
        (
            row.id,
            f"{row.completed:,}",
            f"{row.output_tokens:,}" if row.output_tokens else "–",
            number(row.ttft_ms),
            number(row.tpot_ms),
        )
        for row in shares
    )
    columns = ("Replica", "Completed", "Output tokens", "TTFT, mean ms", "TPOT, mean ms")
    return Table("Requests completed by each replica", columns, rows)
