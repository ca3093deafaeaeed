"""A measurement that is over, read back from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from headrace.errors import InputError
from headrace.loadgen.parquet import read_parquet
from headrace.loadgen.records import Floats
from headrace.loadgen.summary import Summary


@dataclass(frozen=True)
class Past:
    """A run's summary and its counted requests, in the order in which they ended.

    Times in seconds from the start of the load; `began_s` is when latency starts to count.
    """

    folder: Path
    summary: Summary
    began_s: Floats
    first_s: Floats
    last_s: Floats
    done_s: Floats
    input_tokens: Floats
    output_tokens: Floats
    request: Floats
    """Each one's row in `records.parquet`."""
    gaps_s: list[Floats] | None
    """Gaps between chunks by request, where the run has `chunks.parquet`."""

    @property
    def ttft_ms(self) -> Floats:
        """Request to first token."""
        return (self.first_s - self.began_s) * 1e3

    @property
    def tpot_ms(self) -> Floats:
        """(last - first token) / (output tokens - 1), of answers of two tokens or more."""
        several = self.output_tokens > 1
        spans_s = (self.last_s - self.first_s)[several]
        return spans_s / (self.output_tokens[several] - 1) * 1e3

    @property
    def e2e_ms(self) -> Floats:
        """Request to its end."""
        return (self.done_s - self.began_s) * 1e3

    @property
    def window_s(self) -> tuple[float, float]:
        """The measured window: it ends with the last counted request, to within one of them."""
        end_s = float(self.done_s.max()) if len(self.done_s) else 0.0
        return end_s - self.summary.duration_s, end_s


def load_past(folder: Path) -> Past:
    """Read a run's folder. Raises InputError when it holds no finished measurement."""
    try:
        summary = Summary.model_validate_json((folder / "summary.json").read_bytes())
    except OSError as error:
        raise InputError(
            f"{folder}: no summary.json", hint="name the folder of a `headrace bench` or `run`"
        ) from error
    except ValidationError as error:
        raise InputError(f"{folder / 'summary.json'}: not a summary of this version") from error
    began = "sent_s" if summary.concurrency.asked is not None else "scheduled_s"
    columns = read_parquet(
        folder / "records.parquet",
        f"{began} as began_s, first_token_s as first_s, last_token_s as last_s, done_s, "
        "input_tokens, output_tokens, file_row_number as request",
        "counted",
    )
    return Past(folder=folder, summary=summary, gaps_s=_gaps(folder), **columns)


def _gaps(folder: Path) -> list[Floats] | None:
    path = folder / "chunks.parquet"
    if not path.exists():
        return None
    columns = read_parquet(path, "request, at_s", "true")
    starts = np.flatnonzero(np.diff(columns["request"])) + 1
    return [np.diff(times) for times in np.split(columns["at_s"], starts)]
