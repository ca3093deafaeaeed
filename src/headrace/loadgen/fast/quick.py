"""The quick reader of a drain: lines of plain streams are lent to it, and read without Python."""

from __future__ import annotations

import select
from collections.abc import Iterator

import numpy as np

from headrace.loadgen.client import Stream
from headrace.loadgen.fast.reading import EVENT, GAPS, SLOT, UNREAD, take_in
from headrace.loadgen.lending import LAZY_S, MOST, Left
from headrace.loadgen.stamps import Batch

LINES = 4096
"""File descriptors that there is room for at first."""


class CompiledQuick:
    """Keeps, of each line that is lent to it, what its stream would: when chunks came."""

    room_bytes = SLOT

    def __init__(self) -> None:
        self._kinds = np.zeros(LINES, np.uint8)
        self._last_s = np.zeros(LINES)
        self._last_gap_s = np.zeros(LINES, np.float32)
        self._counts = np.zeros(LINES, np.int32)
        self._gaps = np.zeros((LINES, GAPS), np.float32)
        self._room = np.zeros((MOST, SLOT), np.uint8)
        self._bytes = self._room.data.cast("B")
        self._whose = np.zeros((MOST, 3), np.int64)
        self._came_s = np.zeros(MOST)
        self._calls = (
            *(np.zeros(EVENT * MOST, np.int32), np.zeros(8, np.int64)),
            *(np.zeros(2, np.int64), np.zeros(4, np.int64)),
        )
        self.ready = self.chunks = 0
        """Of the last batch: lines that had something, chunks that were taken in."""

        with select.epoll() as nothing:
            list(self.read(nothing.fileno(), Batch()))  # compiles it

    def lend(self, fd: int, stream: Stream) -> None:
        """The stream is plain: take in what comes on its line, until it is given back."""
        while fd >= len(self._kinds):
            self._grow()
        self._kinds[fd] = 2 if stream.chat else 1
        self._last_s[fd] = stream.last_s
        self._last_gap_s[fd] = stream.gaps[-1] if stream.gaps else 0.0

    def tell(self, fd: int, stream: Stream) -> None:
        """Let the stream have what came; nothing did where the line was never lent."""
        count = self._counts[fd] if fd < len(self._counts) else 0
        if count:
            stream.gaps.frombytes(self._gaps[fd, :count].tobytes())
            stream.last_s = float(self._last_s[fd])
            self._counts[fd] = 0

    def give_back(self, fd: int, stream: Stream) -> None:
        """Let it have what came, and its line back."""
        self.tell(fd, stream)
        if fd < len(self._kinds):
            self._kinds[fd] = 0

    def read(self, poller: int, batch: Batch) -> Iterator[Left]:
        """One batch; yields the lines that are left."""
        times = (*batch.span(), batch.offset_s)
        lines = (self._kinds, self._last_s, self._last_gap_s, self._counts, self._gaps)
        left = (self._whose, self._came_s)
        self.ready, self.chunks, kept = take_in(
            poller, times, LAZY_S, lines, self._calls, left, self._room
        )
        for place in range(kept):
            fd, events, size = self._whose[place].tolist()
            first = place * SLOT
            data = None if size == UNREAD else bytes(self._bytes[first : first + size])
            yield fd, events, data, float(self._came_s[place])

    def _grow(self) -> None:
        for name in ("_kinds", "_last_s", "_last_gap_s", "_counts", "_gaps"):
            had = getattr(self, name)
            setattr(self, name, np.concatenate([had, np.zeros_like(had)]))
