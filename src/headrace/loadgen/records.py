"""Every request of a run as columns: from the workers' files, to `records.parquet`.

Columns of the parquet file, one row per request, times in seconds since the start of the load:
`phase` (warmup, measured, fill), `error` (null when it completed, `cut` when the measurement ended
first), `status`, `worker`, `url` (its place in the list), `replica`, `lora` (1 + its place in the
list, 0 without), `turn` (of its conversation, from 0), `scheduled_s`, `sent_s`, `first_token_s`,
`first_content_s` (chat: the first token that is neither reasoning nor a tool call),
`last_token_s`, `done_s`, `asked_tokens`, `prompt_tokens` (as sent; 0 where only the server can
count), `input_tokens`, `cached_tokens` (as far as the server tells), `output_tokens`, `chunks`,
`reasoning_chunks`, `tool_chunks`, `counted` (completed in the measured window: what the latencies
are made of).

`timeline.parquet` has one row per quarter of a second: `at_s` (the end of the bin), `output_tok_s`
(chunks that arrived in the bin, warm-up and fill included, times the run's tokens per chunk),
`running`, `completed` and `failed` (so far).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.loadgen.failure import End, end_name
from headrace.loadgen.parquet import write_parquet
from headrace.loadgen.schedule import Phase
from headrace.loadgen.trail import (
    COUNTS,
    GAPS,
    LAGS,
    ROW,
    ROWS,
    TICK_FIELDS,
    TICKS,
    TIMES,
    trail_path,
)

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ROW_DTYPE = np.dtype(
    [
        ("phase", "u1"),
        ("end", "u1"),
        ("status", "<u2"),
        ("url", "<u2"),
        ("lora", "<u2"),
        ("turn", "<u2"),
        ("replica", "S16"),
        *((name, "<f8") for name in TIMES),
        *((name, "<u4") for name in COUNTS),
        ("gap_start", "<u8"),
    ]
)
TIMELINE_S = 0.25
TIMELINE_FIELDS = ("chunks", "running", "completed", "failed")


@dataclass(frozen=True)
class Records:
    """What the workers left. `rows` has ROW_DTYPE's fields; all times count from the start."""

    rows: npt.NDArray[np.void]
    worker: npt.NDArray[np.intp]
    gaps_s: list[npt.NDArray[np.float32]]
    """Gaps between chunks by worker; a row's lie at gap_start, chunks - 1 of them."""
    ticks: list[Floats]
    """Samples by worker, columns TICK_FIELDS."""
    lags: list[Floats]
    """Samples by worker, columns (at_s, late_s)."""

    def seconds(self, column: str) -> Floats:
        """A column of times."""
        values: Floats = self.rows[column]
        return values

    def ended(self, end: End) -> Mask:
        """Rows that ended so."""
        mask: Mask = self.rows["end"] == end
        return mask

    def in_phase(self, phase: Phase) -> Mask:
        """Rows of that phase."""
        mask: Mask = self.rows["phase"] == phase
        return mask

    def gaps_by_row(self, chosen: Mask) -> npt.NDArray[np.float32]:
        """The gaps between chunks (s), row after row; only completed measured rows have any."""
        rows, workers = self.rows[chosen], self.worker[chosen]
        ends = rows["gap_start"].astype(np.int64) + np.maximum(rows["chunks"].astype(np.int64), 1)
        parts = [
            self.gaps_s[worker][start : end - 1]
            for worker, start, end in zip(workers, rows["gap_start"], ends, strict=True)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def load_records(folder: Path, starts_s: list[float]) -> Records:
    """The files of all workers; rows that a dying worker wrote in part are left out.

    `starts_s` is the start of the load on each worker's perf_counter clock.
    """
    assert ROW_DTYPE.itemsize == ROW.size
    workers = range(len(starts_s))
    rows = [_read(trail_path(folder, ROWS, w), ROW_DTYPE, 1) for w in workers]
    f8 = np.dtype("<f8")
    ticks = [_read(trail_path(folder, TICKS, w), f8, len(TICK_FIELDS)) for w in workers]
    lags = [_read(trail_path(folder, LAGS, w), f8, 2) for w in workers]
    for worker, start_s in enumerate(starts_s):
        for column in TIMES:
            rows[worker][column] -= start_s
        ticks[worker][:, 0] -= start_s
        lags[worker][:, 0] -= start_s
    return Records(
        rows=np.concatenate(rows),
        worker=np.repeat(np.array(workers), [len(part) for part in rows]),
        gaps_s=[_read(trail_path(folder, GAPS, w), np.dtype("<f4"), 1) for w in workers],
        ticks=ticks,
        lags=lags,
    )


def _read(path: Path, dtype: np.dtype[Any], width: int) -> npt.NDArray[Any]:
    found: npt.NDArray[Any]
    if not path.exists():
        found = np.zeros(0, dtype)
    else:
        whole = path.stat().st_size // dtype.itemsize
        found = np.fromfile(path, dtype, count=whole - whole % width)
    return found.reshape(-1, width) if width > 1 else found


def write_records(records: Records, counted: Mask, path: Path) -> None:
    """Write `records.parquet`."""
    rows = records.rows
    columns = {name: np.ascontiguousarray(rows[name]) for name in TIMES}
    columns |= {name: rows[name].astype(np.int32) for name in ("status", "url", "lora", "turn")}
    columns |= {name: rows[name].astype(np.int64) for name in COUNTS}
    columns["phase"] = np.array([phase.name.lower() for phase in Phase], object)[rows["phase"]]
    columns["error"] = _errors(rows)
    columns["replica"] = rows["replica"].astype("U16").astype(object)
    columns["worker"] = records.worker.astype(np.int32)
    columns["counted"] = counted
    times = ", ".join(
        f"case when isnan({name}) then null else {name} end as {name}" for name in TIMES
    )
    write_parquet(
        columns,
        "phase, nullif(error, '') as error, status, worker, url, nullif(replica, '') as replica, "
        f"lora, turn, {times}, {', '.join(COUNTS)}, counted",
        "order by done_s",
        path,
    )


def write_chunks(records: Records, counted: Mask, path: Path) -> None:
    """Write `chunks.parquet`: each chunk of each counted request, as the request's place in
    `records.parquet` (`request`), its own place (`chunk`, from 0) and `at_s`.
    """
    order = np.argsort(records.rows["done_s"], kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    rows = records.rows[counted]
    counts = rows["chunks"].astype(np.int64)
    starts = np.cumsum(counts) - counts
    gaps_s = np.zeros(int(counts.sum()))
    first = np.zeros(len(gaps_s), bool)
    first[starts] = True
    gaps_s[~first] = records.gaps_by_row(counted)
    passed_s = np.cumsum(gaps_s)
    at_s = passed_s - np.repeat(passed_s[starts], counts) + np.repeat(rows["first_token_s"], counts)
    columns = {
        "request": np.repeat(rank[counted], counts),
        "chunk": np.arange(len(gaps_s)) - np.repeat(starts, counts),
        "at_s": at_s,
    }
    write_parquet(columns, "request, chunk, at_s", "order by request, chunk", path)


def _errors(rows: npt.NDArray[np.void]) -> npt.NDArray[np.object_]:
    """The name of each row's end; empty for completed ones."""
    keys = rows["end"].astype(np.int64) * 1000 + rows["status"]
    found, places = np.unique(keys, return_inverse=True)
    names = [_error(int(key) // 1000, int(key) % 1000) for key in found]
    return np.array(names, object)[places] if names else np.zeros(0, object)


def _error(end: int, status: int) -> str:
    return "" if end == End.OK else end_name(end, status)


def write_timeline(records: Records, path: Path) -> None:
    """Write `timeline.parquet`: what arrived in each quarter of a second, all workers together."""
    done = records.ended(End.OK)
    chunks, tokens = (int(records.rows[n][done].sum()) for n in ("chunks", "output_tokens"))
    last_s = max((float(t[-1, 0]) for t in records.ticks if len(t)), default=0.0)
    edges = np.arange(0.0, max(last_s, TIMELINE_S) + 1e-9, TIMELINE_S)
    sums = {name: _sampled(records, name, edges) for name in TIMELINE_FIELDS}
    rate = np.diff(sums["chunks"]) / TIMELINE_S * (tokens / chunks if chunks else 1.0)
    columns: dict[str, npt.NDArray[np.generic]] = {"at_s": edges[1:], "output_tok_s": rate}
    columns |= {n: np.rint(sums[n][1:]).astype(np.int64) for n in TIMELINE_FIELDS[1:]}
    write_parquet(columns, "at_s, output_tok_s, running, completed, failed", "order by at_s", path)


def _sampled(records: Records, field: str, at_s: Floats) -> Floats:
    """A sampled figure at those times, summed over the workers."""
    column = TICK_FIELDS.index(field)
    total = np.zeros_like(at_s)
    for ticks in records.ticks:
        if len(ticks):
            total += np.interp(at_s, ticks[:, 0], ticks[:, column])
    return total
