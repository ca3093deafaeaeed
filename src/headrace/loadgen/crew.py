"""The worker processes of one measurement: started, told to go, told to stop, gone at the end."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headrace.errors import HeadraceError
from headrace.loadgen.job import GO, STOP, Job, encode
from headrace.loadgen.live import Field, Page, create_page
from headrace.loadgen.worker import page_path

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class Workers(Protocol):
    """The processes that load, wherever they run."""

    def values(self, field: Field) -> list[float]:
        """A counter of each worker; times on this machine's perf_counter clock."""

    def total(self, field: Field) -> float:
        """A counter summed over the workers."""

    def dead(self) -> list[str]:
        """Workers that ended although nobody told them to, and their last words."""

    def stop(self) -> None:
        """Tell all to stop, and wait until their files are in the folder."""


@dataclass(frozen=True)
class _Member:
    process: subprocess.Popen[bytes]
    page: Page
    log: Path


class Crew:
    """A context manager: no worker outlives it."""

    def __init__(self, jobs: list[Job]) -> None:
        self._members: list[_Member] = []
        self._jobs = jobs

    def __enter__(self) -> Crew:
        try:
            for job in self._jobs:
                self._members.append(_hire(job))
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        for member in self._members:
            member.page.close()

    def total(self, field: Field) -> float:
        """A counter summed over the workers."""
        return sum(member.page[field] for member in self._members)

    def values(self, field: Field) -> list[float]:
        """A counter of each worker."""
        return [member.page[field] for member in self._members]

    def await_ready(self) -> None:
        """Return once all workers are ready. Raises HeadraceError when one cannot start."""
        deadline_s = time.perf_counter() + READY_TIMEOUT_S
        while min(self.values(Field.READY)) == 0:
            if self.dead():
                raise HeadraceError(f"the load generator could not start: {self.dead()[0]}")
            if time.perf_counter() > deadline_s:
                raise HeadraceError(
                    f"the load generator was not ready within {READY_TIMEOUT_S:g} s",
                    hint="free the machine's processors, or lower --processes",
                )
            time.sleep(0.005)

    def go(self, start_s: float) -> None:
        """Let all workers start at that time (perf_counter clock)."""
        self._tell(b"%b %.9f\n" % (GO, start_s))

    def starts(self, start_s: float) -> list[float]:
        """That time on each worker's own clock."""
        return [start_s] * len(self._members)

    def dead(self) -> list[str]:
        """Workers that ended although nobody told them to, and their last words."""
        return [
            f"worker {index} died ({_how(member.process.poll())}){_last_words(member.log)}"
            for index, member in enumerate(self._members)
            if member.process.poll() is not None
        ]

    def stop(self) -> None:
        """Tell all to stop, and wait until their files are complete."""
        self._tell(STOP + b"\n")
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for member in self._members:
            try:
                member.process.wait(max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                member.process.kill()

    def _tell(self, line: bytes) -> None:
        for member in self._members:
            pipe = member.process.stdin
            assert pipe is not None
            try:
                pipe.write(line)
                pipe.flush()
            except BrokenPipeError:
                continue

    def _kill(self) -> None:
        for member in self._members:
            if member.process.poll() is None:
                member.process.kill()
            member.process.wait()
            if member.process.stdin is not None:
                _close_quietly(member.process)


def _close_quietly(process: subprocess.Popen[bytes]) -> None:
    """A pipe to a dead process may hold bytes that can no longer be written."""
    try:
        if process.stdin is not None:
            process.stdin.close()
    except BrokenPipeError:
        return


def _hire(job: Job) -> _Member:
    page = page_path(job)
    create_page(page)
    log = Path(job.folder) / f"log-{job.index}.txt"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace.loadgen.worker"],
            stdin=subprocess.PIPE,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
        )
    member = _Member(process, Page(page), log)
    assert process.stdin is not None
    process.stdin.write(encode(job))
    process.stdin.flush()
    return member


def _how(status: int | None) -> str:
    return f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""
