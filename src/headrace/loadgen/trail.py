"""The files that a worker appends to while it runs: what it leaves is usable if it dies."""

from __future__ import annotations

import struct
from array import array
from pathlib import Path

ROW = struct.Struct("<BBHHHH16s6d8IQ")
"""phase, end, status, url, lora, turn, replica, scheduled_s, sent_s, first_token_s,
first_content_s, last_token_s, done_s, asked_tokens, prompt_tokens, input_tokens, cached_tokens,
output_tokens, chunks, reasoning_chunks, tool_chunks, first gap's place."""
COUNTS = (
    *("asked_tokens", "prompt_tokens", "input_tokens", "cached_tokens", "output_tokens"),
    *("chunks", "reasoning_chunks", "tool_chunks"),
)
TIMES = (*("scheduled_s", "sent_s", "first_token_s", "first_content_s", "last_token_s", "done_s"),)
TICK_FIELDS = (
    *("at_s", "cpu_s", "chunks", "running", "completed", "failed"),
    *("untimed", "vague", "compiled"),
)
ROWS, GAPS, TICKS, LAGS = "rows", "gaps", "ticks", "lags"
MISSING = float("nan")


def trail_path(folder: Path, kind: str, worker: int) -> Path:
    """Where a worker's file of one kind lies."""
    return folder / f"{kind}-{worker}.bin"


class Trail:
    """Writes one worker's files: requests, gaps between chunks, ticks, lags.

    All times are seconds on the perf_counter clock, which processes of one machine share.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        kinds = (ROWS, GAPS, TICKS, LAGS)
        files = [trail_path(folder, kind, worker).open("wb") for kind in kinds]
        self._rows, self._gaps, self._ticks, self._lags = files
        self._files = files
        self._gap_count = 0
        self._pending_lags = array("d")

    def request(
        self,
        head: tuple[int, int, int, int, int, int],
        replica: bytes,
        times: tuple[float, float, float, float, float, float],
        counts: tuple[int, int, int, int, int, int, int, int],
        gaps: array[float] | None,
    ) -> None:
        """One request: (phase, end, status, url, lora, turn), its TIMES and its COUNTS.

        Gaps (s, float32) are kept only where given.
        """
        self._rows.write(ROW.pack(*head, replica, *times, *counts, self._gap_count))
        if gaps is not None:
            self._gaps.write(gaps)
            self._gap_count += len(gaps)

    def tick(self, *values: float) -> None:
        """One sample of TICK_FIELDS; also hands what is buffered to the operating system."""
        self._ticks.write(array("d", values))
        self._lags.write(self._pending_lags)
        self._pending_lags = array("d")
        for file in self._files:
            file.flush()

    def lag(self, at_s: float, late_s: float) -> None:
        """How late the client was at that time."""
        self._pending_lags.append(at_s)
        self._pending_lags.append(late_s)

    def close(self) -> None:
        """Write what is pending, and close."""
        self._lags.write(self._pending_lags)
        for file in self._files:
            file.close()
