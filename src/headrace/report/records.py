"""The requests of a run, as arrays: `records.parquet`, and `timeline.parquet` beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InputError
from headrace.report.series import Floats

if TYPE_CHECKING:
    import duckdb

Words = NDArray[np.object_]
Mask = NDArray[np.bool_]

NUMBERS = (
    "sent_s",
    "first_token_s",
    "last_token_s",
    "done_s",
    "input_tokens",
    "output_tokens",
)
OPTIONAL_WORDS = ("replica", "error")
CUT = "cut"
"""The error of requests that were in flight when the measurement ended."""
REMEDY = "run `headrace bench` again, or remove the file to report without it"


@dataclass(frozen=True)
class Records:
    """Requests as columns. Times are seconds since the run's start, NaN where absent.

    `phase` is warmup, measured or fill; `error` and `replica` are empty where there is none.
    `counted` marks the requests that the summary is made of: completed in the measured window.
    `began_s` is when a latency starts to count: sent, or scheduled in open loop.
    """

    phase: Words
    replica: Words
    error: Words
    counted: Mask
    began_s: Floats
    sent_s: Floats
    first_token_s: Floats
    last_token_s: Floats
    done_s: Floats
    input_tokens: Floats
    output_tokens: Floats
    asked_tokens: Floats
    chunks: Floats

    def __len__(self) -> int:
        return len(self.sent_s)

    def only(self, keep: Mask) -> Records:
        """The rows where `keep` is true."""
        return Records(**{name: column[keep] for name, column in vars(self).items()})

    @property
    def measured(self) -> Records:
        """Those that the summary is made of."""
        return self.only(self.counted)

    @property
    def ttft_ms(self) -> Floats:
        """Request sent (open loop: scheduled) to first token."""
        return (self.first_token_s - self.began_s) * 1e3

    @property
    def tpot_ms(self) -> Floats:
        """(last token - first token) / (output tokens - 1); NaN below two tokens."""
        gaps = np.where(self.output_tokens > 1, self.output_tokens - 1, np.nan)
        return (self.last_token_s - self.first_token_s) / gaps * 1e3

    @property
    def e2e_ms(self) -> Floats:
        """Request sent (open loop: scheduled) to its end."""
        return (self.done_s - self.began_s) * 1e3

    @property
    def end_s(self) -> float:
        """The last moment that any request knows of."""
        times = np.concatenate([self.sent_s, self.last_token_s, self.done_s])
        times = times[np.isfinite(times)]
        return float(times.max()) if len(times) else 0.0

    def delivered(self) -> tuple[Floats, Floats]:
        """Input and output tokens between first and last token, per request.

        A request that was cut has no usage block: its output is estimated from its chunks, and
        its input is charged as far as its output had come, so that the end of a run does not
        look like a collapse.
        """
        done = self.error == ""
        chunks = float(np.nansum(self.chunks[done]))
        per_chunk = float(np.nansum(self.output_tokens[done])) / chunks if chunks else 1.0
        typical = float(np.median(self.input_tokens[done])) if done.any() else 0.0
        output = np.where(done, self.output_tokens, self.chunks * per_chunk)
        asked = np.where(self.asked_tokens > 0, self.asked_tokens, np.inf)
        share = np.clip(output / asked, 0.0, 1.0)
        taken = np.where(done, self.input_tokens, typical * share)
        alive = done | (self.error == CUT)
        return np.where(alive, taken, 0.0), np.where(alive, output, 0.0)


@dataclass(frozen=True)
class Timeline:
    """Output tokens per second as the chunks arrived. `at_s` is the end of each bin."""

    at_s: Floats
    output_tok_s: Floats


def load_records(path: Path, *, open_loop: bool = False) -> Records:
    """Read `records.parquet`. Raises InputError when it is no parquet file or lacks a column."""
    columns = _read(path, ("phase", *NUMBERS), lambda present: _projection(present, open_loop))
    return Records(**{name: _plain(name, column) for name, column in columns.items()})


def load_timeline(path: Path) -> Timeline:
    """Read `timeline.parquet`. Raises InputError as `load_records` does."""
    columns = _read(path, ("at_s", "output_tok_s"), _timeline_projection)
    return Timeline(**{name: _plain(name, column) for name, column in columns.items()})


def _read(
    path: Path, required: Sequence[str], projection: Callable[[set[str]], str]
) -> dict[str, Any]:
    import duckdb

    try:
        source = _database().from_parquet(_literal(path))
        _require(path, required, set(source.columns))
        return dict(source.project(projection(set(source.columns))).fetchnumpy())
    except duckdb.Error as error:
        line = str(error).splitlines()[0]
        raise InputError(f"cannot read {path}: {line}", hint=REMEDY) from error


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One connection for all files: opening it takes longer than reading one."""
    import duckdb

    return duckdb.connect(config={"autoinstall_known_extensions": "false"})


def _literal(path: Path) -> str:
    """DuckDB takes `*`, `?` and `[` for patterns; in brackets they are themselves."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _require(path: Path, required: Sequence[str], present: set[str]) -> None:
    missing = [name for name in required if name not in present]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}", hint=REMEDY)


def _projection(present: set[str], open_loop: bool) -> str:
    began = "scheduled_s" if open_loop and "scheduled_s" in present else "sent_s"
    measured = "phase = 'measured'" + (" AND error IS NULL" if "error" in present else "")
    counted = "counted" if "counted" in present else measured
    columns = ["coalesce(phase::VARCHAR, '') AS phase", f"coalesce({counted}, false) AS counted"]
    columns += [_column(name, "VARCHAR", "''", present) for name in OPTIONAL_WORDS]
    columns += [_number(name, present) for name in (*NUMBERS, "asked_tokens", "chunks")]
    return ", ".join([*columns, _number(began, present, "began_s")])


def _timeline_projection(present: set[str]) -> str:
    return ", ".join(_number(name, present) for name in ("at_s", "output_tok_s"))


def _number(name: str, present: set[str], alias: str | None = None) -> str:
    return _column(name, "DOUBLE", "'nan'::DOUBLE", present, alias)


def _column(name: str, kind: str, absent: str, present: set[str], alias: str | None = None) -> str:
    value = f"coalesce({name}::{kind}, {absent})" if name in present else absent
    return f"{value} AS {alias or name}"


def _plain(name: str, column: Any) -> Any:
    words = name in ("phase", *OPTIONAL_WORDS)
    dtype = np.object_ if words else np.bool_ if name == "counted" else np.float64
    return np.asarray(np.ma.filled(column), dtype=dtype)
