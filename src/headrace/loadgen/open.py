"""Open loop: requests at their scheduled times, however many are in flight."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from time import perf_counter

from headrace.loadgen.arrivals import at_rate, offsets, ramped, steps
from headrace.loadgen.client import Stream
from headrace.loadgen.driver import Driver
from headrace.loadgen.exchange import Request
from headrace.loadgen.failure import End
from headrace.loadgen.job import Job
from headrace.loadgen.lending import Quick
from headrace.loadgen.schedule import Phase, Quota, share
from headrace.loadgen.source import Ask, Dataset, Source
from headrace.loadgen.trail import Trail


class OpenLoop(Driver):
    """Sends this worker's share of the arrivals until it is stopped.

    Latency counts from the scheduled time, so that neither a late client nor the wait for a
    connection is hidden. How late the client was is a lag sample of its own.
    """

    def __init__(
        self, job: Job, trail: Trail, heads: list[bytes], quick: Quick | None = None
    ) -> None:
        asked = job.requests
        mine = None if asked is None else share(asked, job.index, job.workers)
        super().__init__(job, trail, Quota(mine, fill=job.spread), heads, quick)
        self._offsets = arrival_offsets(job, self.source)
        self._idle: list[list[Stream]] = [[] for _ in job.endpoints]
        self._turn = job.index
        self._start_s = self._next_s = 0.0
        self._warming = job.warmup_s > 0

    def start(self, start_s: float) -> None:
        """Await the first arrival."""
        self._start_s = start_s
        self._next_s = start_s + next(self._offsets, inf)
        if self._warming:
            self.warm_left = 1
            self.timers.call_at(start_s + self.job.warmup_s, self._warm_period_over)
        else:
            self.warm_s = start_s
        self._arrivals()

    def _warm_period_over(self) -> None:
        self.warm_left -= 1
        self.warmed(self._start_s + self.job.warmup_s)

    def _arrivals(self) -> None:
        """Send all that is due, then await the next."""
        while not self.stopping and self._next_s < inf:
            now = perf_counter()
            if self._next_s > now:
                self.timers.call_at(self._next_s, self._arrivals)
                return
            if not self._arrive(self._next_s, self.source.next()):
                return
            self._trail.lag(now, now - self._next_s)
            self._next_s = self._start_s + next(self._offsets, inf)

    def _arrive(self, scheduled_s: float, ask: Ask) -> bool:
        """Send the request that was scheduled for that time; False when none are left."""
        phase: Phase | None
        if scheduled_s < self._start_s + self.job.warmup_s:
            phase = Phase.WARMUP
            self.warm_left += 1
        else:
            phase = self.quota.take()
        if phase is None or self.stopping:
            return False
        url = self._turn % len(self._idle)
        self._turn += 1
        request = Request(phase, ask, url, scheduled_s, None)
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
        """Keep the connection for a later arrival; a conversation goes on after a pause."""
        if stream.usable:
            self._idle[request.url].append(stream)
        else:
            self._streams.discard(stream)
        if stream.text is not None and stream.end is End.OK:
            self._go_on(request, "".join(stream.text))

    def _go_on(self, request: Request, answer: str) -> None:
        follow = self.source.follow(request.ask, answer)
        if follow is not None:
            think_s, ask = follow
            due_s = perf_counter() + think_s
            self.timers.call_at(due_s, self._arrive, due_s, ask)

    def began(self, request: Request) -> None:
        """Nothing: arrivals do not wait for answers."""

    def not_connected(self, request: Request) -> None:
        """Nothing: the schedule goes on as it is."""


def arrival_offsets(job: Job, source: Source) -> Iterator[float]:
    """When this worker's requests are due, in seconds from the start."""
    told = job.arrivals
    if told.speed is not None:
        assert isinstance(source, Dataset)
        return iter([at_s / told.speed for at_s in source.times_s()])
    assert told.rate is not None
    rate = told.rate / job.workers
    seed = f"{job.seed}/{job.index}/arrivals"
    gaps = steps(told.kind, seed, told.burstiness, job.index, job.workers)
    if told.rate_to is None:
        return offsets(gaps, at_rate(rate))
    return offsets(gaps, ramped(rate, told.rate_to / job.workers, told.ramp_s, job.warmup_s))
