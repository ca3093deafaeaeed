"""How far a measurement is, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Progress:
    """A look at a running measurement. `share` is how much of it is done, 0..1."""

    state: Literal["connecting", "warming up", "measuring"]
    elapsed_s: float
    share: float
    output_tok_s: float
    """Over the last two seconds, warm-up included."""
    running: int
    done: int
    """Requests that completed so far, warm-up included."""
    failed: int


OnProgress = Callable[[Progress], None]


def to_all(*listeners: OnProgress | None) -> OnProgress:
    """One who tells all of them, in this order."""
    told = [listener for listener in listeners if listener is not None]

    def tell(progress: Progress) -> None:
        for listener in told:
            listener(progress)

    return tell
