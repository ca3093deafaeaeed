"""Reading logs that are being written."""

from __future__ import annotations

import os
from pathlib import Path

TAIL_BYTES = 64 * 1024
CHUNK_BYTES = 1024 * 1024


class LogFollower:
    """Hands out the whole lines that were added since the last look."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._offset = offset

    def new_lines(self) -> list[str]:
        """The lines since the last call; at most 1 MiB at a time. A part of a line waits."""
        try:
            with self._path.open("rb") as log:
                if log.seek(0, os.SEEK_END) < self._offset:
                    self._offset = 0  # rotated
                log.seek(self._offset)
                data = log.read(CHUNK_BYTES)
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        if end == 0 and len(data) == CHUNK_BYTES:
            end = CHUNK_BYTES
        self._offset += end
        return data[:end].decode(errors="replace").splitlines()


def tail(path: Path, lines: int, offset: int = 0) -> list[str]:
    """The last `lines` lines after `offset`, looking at no more than the last 64 KiB."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            begin = offset if offset <= size else 0  # rotated
            log.seek(max(begin, size - TAIL_BYTES))
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
