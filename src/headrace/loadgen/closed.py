"""Closed loop: a held number of requests in flight, each followed at once by the next."""

from __future__ import annotations

from collections import deque
from time import perf_counter

from headrace.loadgen.client import Stream
from headrace.loadgen.driver import Driver
from headrace.loadgen.exchange import Request
from headrace.loadgen.failure import End
from headrace.loadgen.job import Job
from headrace.loadgen.lending import Quick
from headrace.loadgen.schedule import Phase, Quota, refill_sizes, share, spread_lengths
from headrace.loadgen.source import Ask
from headrace.loadgen.trail import Trail

BACKOFF_S = (0.01, 0.5)
RETRY_AFTER_MAX_S = 5.0
RAMP_SHARE = 0.05
RAMP_LEAST = 8
"""Of all workers' first requests so many may wait for their first token at a time."""


class Lane:
    """One place of the held concurrency: a URL, its connection, its failures in a row."""

    __slots__ = ("failures", "stream", "talk", "url", "warmup_tokens")

    def __init__(self, url: int, warmup_tokens: int | None) -> None:
        self.url = url
        self.warmup_tokens = warmup_tokens
        self.stream: Stream | None = None
        self.talk: Ask | None = None
        """The next turn of the lane's conversation, when it has one."""
        self.failures = 0


class ClosedLoop(Driver):
    """Holds this worker's share of the concurrency until it is stopped.

    The first wave is ramped: only so many of its requests wait for their first token at a time.
    Sent at once, its prompts would queue at the server, the short answers among them would come
    back behind that queue in a clump, and the clump would come round again with every generation.
    With `ramp_s` the first wave is spread over that time as well. What follows on lanes that were
    done early holds the load, but is measured only once all lanes have begun: measured requests
    meet the whole concurrency.

    In conversations of several turns a lane is one user: while the user thinks, the lane has no
    request in flight.

    With `refill` a lane that is free waits until so many at its server are; then all of them go
    on. Servers share what is asked for in all, and each has its lanes in one worker.
    """

    def __init__(
        self, job: Job, trail: Trail, heads: list[bytes], quick: Quick | None = None
    ) -> None:
        assert job.arrivals.concurrency is not None
        asked = job.requests
        mine = None if asked is None else share(asked, job.index, job.workers)
        super().__init__(job, trail, Quota(mine, fill=job.spread), heads, quick)
        self._lanes = _lanes(job, job.arrivals.concurrency)
        self.warm_left = len(self._lanes) if job.spread else 0
        self._unsent = deque(self._lanes)
        ramped = max(RAMP_LEAST, int(job.arrivals.concurrency * RAMP_SHARE))
        self._ramped = max(1, share(ramped, job.index, job.workers))
        servers = len(job.endpoints)
        self._together = refill_sizes(job.arrivals.concurrency, job.arrivals.refill, servers)
        self._free: list[list[Lane]] = [[] for _ in self._together]

    def start(self, start_s: float) -> None:
        """The first requests: all of them, or in the first wave as many as the ramp allows."""
        at_once = len(self._lanes)
        if self.warm_left:
            at_once = self._ramped
        else:
            self.warm_s = start_s
        if self.job.arrivals.ramp_s:
            self._climb(start_s, 0)
            return
        for _ in range(at_once):
            self._ramp_up()

    def _climb(self, start_s: float, sent: int) -> None:
        """Add the streams that are due by now, evenly over `ramp_s`."""
        if self.stopping:
            return
        passed_s = perf_counter() - start_s
        due = 1 + int(len(self._lanes) * min(1.0, passed_s / self.job.arrivals.ramp_s))
        while sent < min(due, len(self._lanes)):
            self._send_first()
            sent += 1
        if sent < len(self._lanes):
            self.timers.call_at(perf_counter() + 0.01, self._climb, start_s, sent)

    def _ramp_up(self) -> None:
        if not self.job.arrivals.ramp_s:
            self._send_first()

    def _send_first(self) -> None:
        if self._unsent:
            self._next(self._unsent.popleft())

    def began(self, request: Request) -> None:
        """A warm-up request got its first token: the next may be sent."""
        if request.phase is Phase.WARMUP:
            self._ramp_up()

    def _again(self, lane: Lane) -> None:
        """The lane goes on, with the others that wait for it at its server."""
        server = lane.url
        self._free[server].append(lane)
        if len(self._free[server]) >= self._together[server]:
            together, self._free[server] = self._free[server], []
            for one in together:
                self._next(one)

    def _next(self, lane: Lane) -> None:
        if self.stopping:
            return
        phase = self._phase(lane)
        if phase is None:
            return
        ask, lane.talk = lane.talk or self.source.next(), None
        if lane.warmup_tokens is not None:
            ask.shorten(lane.warmup_tokens)
            lane.warmup_tokens = None
        request = Request(phase, ask, lane.url, perf_counter(), lane)
        self.launch(request, lane.stream)

    def _phase(self, lane: Lane) -> Phase | None:
        if lane.warmup_tokens is not None:
            return Phase.WARMUP
        return Phase.FILL if self.warm_left and self._begins() else self.quota.take()

    def _begins(self) -> bool:
        """Whether some lane's first request is still to be sent, or waits for its connection."""
        opening = (request.phase is Phase.WARMUP for request in self._opening.values())
        return bool(self._unsent) or any(opening)

    def free(self, stream: Stream, request: Request) -> None:
        """The lane goes on: at once, when its user has thought, or after a pause that failed."""
        lane: Lane = request.lane
        if not stream.first_s:
            self.began(request)
        lane.stream = stream if stream.usable else None
        if lane.stream is None:
            self._streams.discard(stream)
        if stream.end is not End.OK:
            self._later(lane, stream.retry_after)
            return
        lane.failures = 0
        think_s = self._turn(lane, stream, request)
        if think_s:
            self.timers.call_at(perf_counter() + think_s, self._again, lane)
        else:
            self._again(lane)

    def _turn(self, lane: Lane, stream: Stream, request: Request) -> float:
        """Ready the conversation's next turn, if it has one: after how long it is due."""
        if stream.text is None:
            return 0.0
        follow = self.source.follow(request.ask, "".join(stream.text))
        if follow is None:
            return 0.0
        think_s, lane.talk = follow
        return think_s

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
        self.timers.call_at(perf_counter() + pause_s, self._again, lane)


def _lanes(job: Job, concurrency: int) -> list[Lane]:
    """The lanes of one worker: every `workers`-th of the whole, so URLs and lengths stay even."""
    lengths: list[int] | None = None
    if job.spread:
        lengths = spread_lengths(job.traffic.output_table, concurrency, job.seed)
    return [
        Lane(place % len(job.endpoints), lengths[place] if lengths else None)
        for place in range(job.index, concurrency, job.workers)
    ]
