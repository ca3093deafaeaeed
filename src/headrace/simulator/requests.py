"""The requests of a simulation: a column per property, a row per request, in order of sending."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PENDING, DONE, FAILED = 0, 1, 2
"""`status`: still in flight (or never sent), completed, broken or refused."""
WARMUP, MEASURED = 0, 1
"""`phase`, as the load generator has it."""


@dataclass
class Requests:
    """Columns of equal length; `sent` rows are in use. Times are in seconds, NaN until known."""

    sent_s: NDArray[np.float64]
    input_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    group: NDArray[np.int32]
    """Which shared prefix it begins with, -1 for none; empty when there are no groups."""
    prefix_tokens: NDArray[np.int32]
    """How long that prefix is; empty when there are no groups."""
    first_s: NDArray[np.float64]
    """First token at the client."""
    done_s: NDArray[np.float64]
    """Last token at the client, or when it broke."""
    replica: NDArray[np.int32]
    lane: NDArray[np.int32]
    """Closed loop: which of the held places sent it; empty in an open loop."""
    status: NDArray[np.int8]
    phase: NDArray[np.int8]
    turns: NDArray[np.int32]
    """Turns of the conversation, if the row begins one; empty without conversations. The row's
    input tokens are what a turn adds until it is sent, and the whole prompt then."""
    hit_tokens: NDArray[np.int32]
    """Of the prompt, what the replica's prefix cache held; empty without groups."""
    sent: int = 0

    @property
    def capacity(self) -> int:
        """Rows, used or not."""
        return len(self.sent_s)

    def used(self) -> Requests:
        """Only the rows of requests that were sent."""
        cut = {name: column[: self.sent] for name, column in self.columns().items()}
        return Requests(**cut, sent=self.sent)

    def as_bench_counts(self, duration_s: float) -> NDArray[np.bool_]:
        """Those that the load generator counts in a closed loop with a window of that length.

        The window begins when the first wave has ended, and what was sent before all of that wave
        was sent only holds the load. A simulation's own window begins at a whole second after it.
        """
        first_wave = np.flatnonzero(self.phase == WARMUP)
        begin_s = float(self.done_s[first_wave].max(initial=0.0))
        counted: NDArray[np.bool_] = (self.status == DONE) & (self.done_s >= begin_s)
        counted &= self.done_s <= begin_s + duration_s
        counted[: first_wave.max(initial=-1) + 1] = False
        return counted

    def columns(self) -> dict[str, NDArray[Any]]:
        """By name."""
        return {name: value for name, value in vars(self).items() if name != "sent"}

    def append(self, more: Requests) -> None:
        """Add rows that are not in use yet."""
        for name, column in more.columns().items():
            setattr(self, name, np.concatenate([getattr(self, name), column]))


def blank(
    input_tokens: NDArray[np.int32],
    output_tokens: NDArray[np.int32],
    *,
    sent_s: NDArray[np.float64] | None = None,
    group: NDArray[np.int32] | None = None,
    prefix_tokens: NDArray[np.int32] | None = None,
    turns: NDArray[np.int32] | None = None,
    closed: bool = False,
) -> Requests:
    """Rows that were not sent yet."""
    count = len(input_tokens)
    none = np.zeros(0, np.int32)
    zeros = np.zeros(count, np.int32)
    if turns is not None:
        group, prefix_tokens = zeros - 1, zeros
    return Requests(
        sent_s=np.full(count, np.nan) if sent_s is None else sent_s,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        group=none if group is None else group,
        prefix_tokens=none if prefix_tokens is None else prefix_tokens,
        first_s=np.full(count, np.nan),
        done_s=np.full(count, np.nan),
        replica=np.full(count, -1, np.int32),
        lane=np.full(count, -1, np.int32) if closed else none,
        status=np.zeros(count, np.int8),
        phase=np.full(count, MEASURED, np.int8),
        turns=none if turns is None else turns,
        hit_tokens=none if group is None else zeros.copy(),
    )
