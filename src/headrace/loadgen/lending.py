"""Who may read a drain's lines in its place: compiled code, where numba is installed.

A line is lent while its stream is plain, that is while each packet most likely is one chunk that
brings one more token. Such packets are taken in without Python; all others come back to it.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from typing import Protocol

from headrace.loadgen.client import Stream
from headrace.loadgen.job import Job
from headrace.loadgen.stamps import Batch

MOST = 512
"""Connections that are read in one go; then the loop's timers and writers have their turn."""
LAZY_S = 0.042
"""After a longer silence the kernel's timer (40 ms) has acknowledged the packet before."""
WORTH_STREAMS, WORTH_RATE = 256, 20.0
"""With fewer streams or requests a second in a worker, what is saved does not pay for the second
that loading numba takes, and its 100 MB."""
MACHINES = ("x86_64", "aarch64")
"""Of which the layouts in `fast.reading` are known."""
Left = tuple[int, int, bytes | None, float]
"""A line that is left to Python: file descriptor, events, what was read (None: nothing yet), when
that came (0: not known)."""


class Quick(Protocol):
    """The compiled reader. It keeps, of each line that is lent to it, when chunks came."""

    room_bytes: int
    """A read of so many bytes was cut short."""
    ready: int
    chunks: int
    """Of the last batch: lines that had something, chunks that were taken in."""

    def read(self, poller: int, batch: Batch) -> Iterator[Left]:
        """Read one batch; yields the lines that are left."""

    def lend(self, fd: int, stream: Stream) -> None:
        """Take in what comes on the stream's line, until it is given back."""

    def tell(self, fd: int, stream: Stream) -> None:
        """Let the stream have what came."""

    def give_back(self, fd: int, stream: Stream) -> None:
        """Let it have what came, and its line back."""


def make_quick(job: Job) -> Quick | None:
    """The compiled reader, where it can be had and is worth it. Takes a second, at first four."""
    if not _is_worth(job) or sys.platform != "linux" or platform.machine() not in MACHINES:
        return None
    try:
        from headrace.loadgen.fast.quick import CompiledQuick

        return CompiledQuick()
    except (ImportError, OSError, RuntimeError):  # no numba, or nowhere to keep what it compiles
        return None


def _is_worth(job: Job) -> bool:
    arrivals = job.arrivals
    if arrivals.concurrency is not None:
        return arrivals.concurrency >= WORTH_STREAMS * job.workers
    if arrivals.rate is not None:
        return max(arrivals.rate, arrivals.rate_to or 0.0) >= WORTH_RATE * job.workers
    return True
