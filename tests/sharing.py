"""How tests share a machine under pytest-xdist: a file at a time, and `alone` with nothing beside.

A worker takes the tests of a file one after another, so that what a file starts is started once.
Files come in the order of what they cost: first those that must be alone, while nothing else runs,
then what waits for processes, and unit tests, which fill the gaps, last.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

WORKERS_MAX = 4
ORDER = ("alone", "vllm", "integration", "browser", "compute")
TOGETHER = {
    "tests/integration/test_run_vllm.py": "vllm",
    "tests/integration/test_vllm_engine.py": "vllm",
    "tests/cli/test_simulate.py": "simulator",
    "tests/simulator/": "simulator",
}
"""What no two workers run at a time: an engine that starts needs a core and gigabytes, and the
simulator's core is compiled by whoever is first."""


class ByFile(LoadScopeScheduling):
    """A worker gets whole files, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((name for start, name in TOGETHER.items() if file.startswith(start)), file)


def workers() -> int:
    """For `-n auto`. Most of what takes long waits, so even one core has two."""
    return min(max(2, len(os.sched_getaffinity(0))), WORKERS_MAX)


def rank(item: pytest.Item) -> int:
    """A file's place is that of its most costly kind of test."""
    return next((n for n, mark in enumerate(ORDER) if item.get_closest_marker(mark)), len(ORDER))


def arrange(items: list[pytest.Item]) -> None:
    """Files by their cost; tests keep their order within a file."""
    ranks: dict[Path, int] = {}
    for item in items:
        ranks[item.path] = min(rank(item), ranks.get(item.path, len(ORDER)))
    items.sort(key=lambda item: ranks[item.path])


class Machine:
    """A lock that workers share, save for one whose test must be alone.

    Whoever waits holds the gate: nobody overtakes a test that wants to be alone.
    """

    def __init__(self, folder: Path) -> None:
        self._gate = _opened(folder / "machine.gate")
        self._machine = _opened(folder / "machine.lock")
        self._alone = False

    def take(self, alone: bool) -> None:
        """Wait for it; a run of tests that are alone keeps it between them."""
        if self._alone and alone:
            return
        with _locked(self._gate):
            fcntl.flock(self._machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        self._alone = alone

    def give(self, next_alone: bool) -> None:
        """The next test of this worker may want to stay alone."""
        if not (self._alone and next_alone):
            fcntl.flock(self._machine, fcntl.LOCK_UN)
            self._alone = False


def _opened(path: Path) -> int:
    """A descriptor for the worker's life; what it starts does not inherit it."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


@contextmanager
def _locked(file: int) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def is_alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None


class Sharing:
    """The plugin of a worker."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        arrange(items)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Iterator[None]:
        self._machine.take(is_alone(item))
        try:
            return (yield)
        finally:
            self._machine.give(is_alone(nextitem))
