"""A worker process: `python -m headrace.loadgen.worker`, its job on standard input.

It says in its page that it is ready, starts at the time that the line `go` names, and stops when
told so, or when its standard input ends, because then its parent is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import resource
import sys
import time
from pathlib import Path

import orjson
import uvloop

from headrace.loadgen.closed import ClosedLoop
from headrace.loadgen.driver import Driver
from headrace.loadgen.head import request_heads
from headrace.loadgen.job import GO, Job, decode
from headrace.loadgen.lag import Heartbeat
from headrace.loadgen.lending import make_quick
from headrace.loadgen.live import Field, Page
from headrace.loadgen.open import OpenLoop
from headrace.loadgen.trail import Trail

PUBLISH_EVERY, TICK_EVERY = 5, 25
"""In heartbeats of 10 ms."""


class Worker:
    """Runs one driver, and publishes and samples it on a heartbeat."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.page = Page(page_path(job))
        self.page[Field.LEFT] = -1  # unknown: until it is published, nothing is over
        self.trail = Trail(Path(job.folder), job.index)
        self._quick = make_quick(job)
        self._beats = 0

    async def run(self, start_s: float) -> None:
        """Load from `start_s` (perf_counter clock) until told to stop; leaves complete files."""
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        loop.add_reader(sys.stdin.fileno(), stopped.set)
        driver = self._driver()
        await asyncio.sleep(max(0.0, start_s - time.perf_counter()))
        heart = Heartbeat(loop, self.trail, lambda: self._beat(driver))
        self._tick(driver)
        heart.start()
        driver.start(start_s)
        await stopped.wait()
        heart.stop()
        driver.stop()
        self._tick(driver)
        driver.publish(self.page)
        self._leave(driver)

    def _driver(self) -> Driver:
        name = self.job.access.api_key_env
        heads = request_heads(self.job, os.environ[name].strip() if name else None)
        kind = ClosedLoop if self.job.arrivals.concurrency is not None else OpenLoop
        return kind(self.job, self.trail, heads, self._quick)

    def _beat(self, driver: Driver) -> None:
        self._beats += 1
        if self._beats % PUBLISH_EVERY == 0:
            driver.publish(self.page)
        if self._beats % TICK_EVERY == 0:
            self._tick(driver)
        driver.sweep()

    def _tick(self, driver: Driver) -> None:
        self.trail.tick(
            time.perf_counter(),
            time.process_time(),
            driver.chunks,
            driver.running,
            driver.completed,
            driver.failed,
            driver.untimed,
            driver.vague,
            driver.compiled,
        )

    def _leave(self, driver: Driver) -> None:
        self.trail.close()
        path = Path(self.job.folder) / f"examples-{self.job.index}.json"
        path.write_bytes(orjson.dumps(driver.examples))


def page_path(job: Job) -> Path:
    """Where the worker's page lies; the coordinator creates it."""
    return Path(job.folder) / f"page-{job.index}.bin"


def main() -> None:
    """Read the job, say ready, await `go`, load."""
    lines = io.FileIO(sys.stdin.fileno(), closefd=False)
    line = lines.readline()
    if not line:
        return
    job = decode(line)
    worker = Worker(job)
    _settle(job)
    worker.page[Field.READY] = 1
    word = lines.readline().split()
    if len(word) == 2 and word[0] == GO:
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(worker.run(float(word[1])))


def _settle(job: Job) -> None:
    """Pin, allow as many files as possible, keep the collector from walking what stays."""
    if job.cpu is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {job.cpu})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


if __name__ == "__main__":
    main()
