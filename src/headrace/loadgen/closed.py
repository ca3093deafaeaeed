"""Closed loop: a held number of requests in flight, each followed at once by the next."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter

from headrace.loadgen.client import Request, Stream
from headrace.loadgen.driver import Driver
from headrace.loadgen.failure import End
from headrace.loadgen.job import Job
from headrace.loadgen.schedule import Phase, Quota, share, spread_lengths
from headrace.loadgen.trail import Trail

BACKOFF_S = (0.01, 0.5)
RETRY_AFTER_MAX_S = 5.0
RAMP_SHARE = 0.05
RAMP_LEAST = 8


class Lane:
    """One place of the held concurrency: a URL, its connection, its failures in a row."""

    __slots__ = ("failures", "stream", "url", "warmup_tokens")

    def __init__(self, url: int, warmup_tokens: int | None) -> None:
        self.url = url
        self.warmup_tokens = warmup_tokens
        self.stream: Stream | None = None
        self.failures = 0


class ClosedLoop(Driver):
    """Holds this worker's share of the concurrency until it is stopped.

    The first wave is ramped: only so many of its requests wait for their first token at a time.
    Sent at once, its prompts would queue at the server, the short answers among them would come
    back behind that queue in a clump, and the clump would come round again with every generation.
    """

    def __init__(self, job: Job, trail: Trail, heads: list[bytes]) -> None:
        assert job.concurrency is not None
        asked = job.requests
        mine = None if asked is None else share(asked, job.index, job.workers)
        super().__init__(job, trail, Quota(mine, fill=job.spread), heads)
        self._lanes = _lanes(job, job.concurrency)
        self.warm_left = len(self._lanes) if job.spread else 0
        self._unsent = deque(self._lanes)

    def start(self, start_s: float) -> None:
        """The first requests: all of them, or in the first wave as many as the ramp allows."""
        at_once = len(self._lanes)
        if self.warm_left:
            at_once = max(RAMP_LEAST, int(at_once * RAMP_SHARE))
        else:
            self.warm_s = start_s
        for _ in range(at_once):
            self._ramp_up()

    def _ramp_up(self) -> None:
        if self._unsent:
            self._next(self._unsent.popleft())

    def began(self, request: Request) -> None:
        """A warm-up request got its first token: the next may be sent."""
        if request.phase is Phase.WARMUP:
            self._ramp_up()

    def _next(self, lane: Lane) -> None:
        if self.stopping:
            return
        phase, tokens = self._what_next(lane)
        if phase is not None:
            request = Request(phase, tokens, lane.url, perf_counter(), lane)
            self.launch(request, lane.stream)

    def _what_next(self, lane: Lane) -> tuple[Phase | None, int]:
        if lane.warmup_tokens is not None:
            tokens, lane.warmup_tokens = lane.warmup_tokens, None
            return Phase.WARMUP, tokens
        return self.quota.take(), self.job.output_tokens

    def free(self, stream: Stream, request: Request) -> None:
        """The lane goes on: at once, or after a pause when the request failed."""
        lane: Lane = request.lane
        if not stream.first_s:
            self.began(request)
        lane.stream = stream if stream.usable else None
        if lane.stream is None:
            self._streams.discard(stream)
        if stream.end is End.OK:
            lane.failures = 0
            self._next(lane)
        else:
            self._later(lane, stream.retry_after)

    def not_connected(self, request: Request) -> None:
        """The lane goes on after a pause."""
        self.began(request)
        request.lane.stream = None
        self._later(request.lane, b"")

    def _later(self, lane: Lane, retry_after: bytes) -> None:
        if self.stopping:
            return
        pause_s = min(BACKOFF_S[1], BACKOFF_S[0] * 2.0**lane.failures)
        if retry_after.isdigit():
            pause_s = min(RETRY_AFTER_MAX_S, max(pause_s, float(retry_after)))
        lane.failures = min(lane.failures + 1, 16)
        asyncio.get_running_loop().call_later(pause_s, self._next, lane)


def _lanes(job: Job, concurrency: int) -> list[Lane]:
    """The lanes of one worker: every `workers`-th of the whole, so URLs and lengths stay even."""
    lengths: list[int] | None = None
    if job.spread:
        lengths = spread_lengths(job.output_tokens, concurrency, job.seed)
    return [
        Lane(place % len(job.endpoints), lengths[place] if lengths else None)
        for place in range(job.index, concurrency, job.workers)
    ]
