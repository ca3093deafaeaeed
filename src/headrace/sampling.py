"""Looking at something again and again beside the main thread, for as long as a block lasts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Self


class Sampling:
    """A context manager whose `_sample` runs in a thread of its own until the block is left.

    A subclass writes `_sample` around `for _ in self._every(seconds)`.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        raise NotImplementedError

    def _every(self, seconds: float, *, at_once: bool = False) -> Iterator[None]:
        """After every so many seconds until the block is left; the first time at once if asked."""
        if at_once:
            yield
        while not self._over.wait(seconds):
            yield
