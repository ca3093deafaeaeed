"""Which part of a run is measured, and which requests count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace.loadgen.failure import End
from headrace.loadgen.records import Mask, Records
from headrace.loadgen.schedule import Phase


@dataclass(frozen=True)
class Window:
    """The measured window in seconds since the start, and the rows that ended in it."""

    start_s: float
    end_s: float
    completed: Mask
    failed: Mask

    @property
    def duration_s(self) -> float:
        """Its length."""
        return self.end_s - self.start_s


def find_window(
    records: Records, warm_s: float | None, duration_s: float | None, stop_s: float
) -> Window:
    """The measured window.

    With a number of requests (duration_s is None) every measured request counts, and the window
    spans from the end of the warm-up, or the first measured completion where that came earlier, to
    the last measured completion. With a duration the window is that long from the end of the
    warm-up, and requests that ended inside it count. `warm_s` is the end of the warm-up, None when
    it was not reached; `stop_s` is when the load was stopped.
    """
    measured = records.in_phase(Phase.MEASURED)
    ok = measured & records.ended(End.OK)
    failed = measured & ~ok & ~records.ended(End.CUT)
    done_s = records.seconds("done_s")
    if duration_s is None:
        return _counted_out(done_s, ok, failed, stop_s if warm_s is None else warm_s)
    start_s = stop_s if warm_s is None else warm_s
    end_s = min(start_s + duration_s, max(stop_s, start_s))
    inside = (done_s >= start_s) & (done_s <= end_s)
    return Window(start_s, end_s, ok & inside, failed & inside)


def _counted_out(done_s: np.ndarray, ok: Mask, failed: Mask, warm_s: float) -> Window:
    ends = done_s[ok] if ok.any() else done_s[failed]
    if not len(ends):
        return Window(warm_s, warm_s, ok, failed)
    return Window(min(warm_s, float(ends.min())), float(ends.max()), ok, failed)


def mean_running(records: Records, window: Window) -> float:
    """Requests in flight, weighted by time over the window."""
    if window.duration_s <= 0:
        return 0.0
    sent_s, done_s = _flights(records)
    inside = np.minimum(done_s, window.end_s) - np.maximum(sent_s, window.start_s)
    return float(np.maximum(inside, 0.0).sum() / window.duration_s)


def most_running(records: Records, window: Window) -> int:
    """The largest number of requests in flight at one time in the window."""
    sent_s, done_s = _flights(records)
    inside = (done_s > window.start_s) & (sent_s < window.end_s)
    sent_s, done_s = sent_s[inside], done_s[inside]
    if not len(sent_s):
        return 0
    times = np.concatenate([sent_s, done_s])
    steps = np.concatenate([np.ones(len(sent_s), int), -np.ones(len(done_s), int)])
    order = np.lexsort((steps, np.maximum(times, window.start_s)))
    return int(np.cumsum(steps[order]).max())


def _flights(records: Records) -> tuple[np.ndarray, np.ndarray]:
    sent_s, done_s = records.seconds("sent_s"), records.seconds("done_s")
    flew = ~np.isnan(sent_s)
    return sent_s[flew], done_s[flew]
