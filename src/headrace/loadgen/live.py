"""Counters that a worker publishes and the coordinator reads, without either waiting."""

from __future__ import annotations

import mmap
from enum import IntEnum
from pathlib import Path


class Field(IntEnum):
    """Places in the shared page; every value is a float64, written whole."""

    READY = 0
    """1 when the worker awaits the start."""
    WARM_S = 1
    """When the last warm-up request ended (perf_counter clock); 0 before that."""
    LEFT = 2
    """Measured requests that have not ended; -1 when they are not counted out."""
    RUNNING = 3
    CHUNKS = 4
    COMPLETED = 5
    FAILED = 6
    TOKENS = 7
    """Output tokens of completed requests, and"""
    TOKEN_CHUNKS = 8
    """the chunks that brought them: their ratio turns chunks into tokens while running."""
    LAST_OK_S = 9
    """When a request last completed (perf_counter clock); 0 when none did."""
    SIMULATED = 10
    """1 when a response said that the engine is simulated."""
    DONE = 11
    """Measured requests that completed, or failed."""


PAGE_BYTES = 8 * len(Field)


def create_page(path: Path) -> None:
    """An empty page, before its worker starts."""
    path.write_bytes(bytes(PAGE_BYTES))


class Page:
    """One worker's page, mapped."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), PAGE_BYTES)
        self._values = memoryview(self._map).cast("d")

    def __getitem__(self, field: Field) -> float:
        return self._values[field]

    def __setitem__(self, field: Field, value: float) -> None:
        self._values[field] = value

    def close(self) -> None:
        """Unmap; the file stays."""
        self._values.release()
        self._map.close()
