"""Open loop: requests at their scheduled times, however many are in flight."""

from __future__ import annotations

import asyncio
from math import ceil
from time import perf_counter

from headrace.loadgen.client import Request, Stream
from headrace.loadgen.driver import Driver
from headrace.loadgen.job import Job
from headrace.loadgen.schedule import Phase, Quota, poisson_offsets, share
from headrace.loadgen.trail import Trail


class OpenLoop(Driver):
    """Sends this worker's share of a Poisson stream until it is stopped.

    Latency counts from the scheduled time, so that neither a late client nor the wait for a
    connection is hidden. How late the client was is a lag sample of its own.
    """

    def __init__(self, job: Job, trail: Trail, heads: list[bytes]) -> None:
        assert job.request_rate is not None
        asked = job.requests
        mine = None if asked is None else share(asked, job.index, job.workers)
        super().__init__(job, trail, Quota(mine, fill=job.spread), heads)
        seed = f"{job.seed}/{job.index}/arrivals"
        self._offsets = poisson_offsets(job.request_rate / job.workers, seed)
        self._idle: list[list[Stream]] = [[] for _ in job.endpoints]
        self._turn = job.index
        self._start_s = self._next_s = 0.0
        self._warming = job.warmup_s > 0

    def start(self, start_s: float) -> None:
        """Await the first arrival."""
        self._start_s = start_s
        self._next_s = start_s + next(self._offsets)
        if self._warming:
            self.warm_left = 1
            pause_s = max(0.0, start_s + self.job.warmup_s - perf_counter())
            asyncio.get_running_loop().call_later(pause_s, self._warm_period_over)
        else:
            self.warm_s = start_s
        self._arrivals()

    def _warm_period_over(self) -> None:
        self.warm_left -= 1
        self.warmed(self._start_s + self.job.warmup_s)

    def _arrivals(self) -> None:
        while not self.stopping:
            now = perf_counter()
            if self._next_s > now:
                pause_s = ceil((self._next_s - now) * 1000) / 1000
                asyncio.get_running_loop().call_later(pause_s, self._arrivals)
                return
            if not self._arrive(self._next_s):
                return
            self._trail.lag(now, now - self._next_s)
            self._next_s = self._start_s + next(self._offsets)

    def _arrive(self, scheduled_s: float) -> bool:
        """Send the request that was scheduled for that time; False when none are left."""
        phase: Phase | None
        if scheduled_s < self._start_s + self.job.warmup_s:
            phase = Phase.WARMUP
            self.warm_left += 1
        else:
            phase = self.quota.take()
        if phase is None:
            return False
        url = self._turn % len(self._idle)
        self._turn += 1
        request = Request(phase, self.job.output_tokens, url, scheduled_s, None)
        self.launch(request, self._idle_stream(url))
        return True

    def _idle_stream(self, url: int) -> Stream | None:
        idle = self._idle[url]
        while idle:
            stream = idle.pop()
            if stream.usable:
                return stream
        return None

    def free(self, stream: Stream, request: Request) -> None:
        """Keep the connection for a later arrival."""
        if stream.usable:
            self._idle[request.url].append(stream)
        else:
            self._streams.discard(stream)

    def began(self, request: Request) -> None:
        """Nothing: arrivals do not wait for answers."""

    def not_connected(self, request: Request) -> None:
        """Nothing: the schedule goes on as it is."""
