"""Watches the workers and decides when the measurement is over."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.loadgen.crew import Workers
from headrace.loadgen.live import Field
from headrace.loadgen.progress import Progress
from headrace.loadgen.spec import BenchSpec

POLL_S = 0.05
SHOW_EVERY = 5
RATE_OVER_S = 2.0
HOPELESS_FIRST_S = 10.0
HOPELESS_LATER_S = 30.0
HOPELESS_FAILURES = 20
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Course:
    """How the load went. Times are on the perf_counter clock."""

    start_s: float
    warm_s: float | None
    """When the warm-up was over in every worker; None when it never was."""
    stop_s: float
    troubles: list[str]
    """Why it ended early, or incomplete; empty when it went as asked."""
    simulated: bool


@dataclass
class Watch:
    """Polls the workers' counters. It reads shared pages, so that no worker waits for it."""

    spec: BenchSpec
    crew: Workers
    start_s: float
    show: Callable[[Progress], None] | None
    _past: deque[tuple[float, float]] = field(default_factory=deque)
    _failures_before_ok: float = 0.0
    _last_ok_s: float = 0.0

    def until_over(self, stop: threading.Event) -> Course:
        """Wait for the end of the measurement, then stop the workers."""
        troubles: list[str] = []
        polls = 0
        while not troubles and not self._over():
            if stop.wait(POLL_S):
                troubles.append(INTERRUPTED)
            else:
                troubles += self.crew.dead() or self._hopeless()
            if polls % SHOW_EVERY == 0 and self.show is not None:
                self.show(self._progress())
            polls += 1
        stop_s = time.perf_counter()
        self.crew.stop()
        simulated = self.crew.total(Field.SIMULATED) > 0
        return Course(self.start_s, self._warm_s(), stop_s, troubles, simulated)

    def _warm_s(self) -> float | None:
        warm = self.crew.values(Field.WARM_S)
        return max(warm) if min(warm) > 0 else None

    def _over(self) -> bool:
        if self.spec.requests is not None:
            return not any(self.crew.values(Field.LEFT))
        warm_s = self._warm_s()
        assert self.spec.duration_s is not None
        return warm_s is not None and time.perf_counter() >= warm_s + self.spec.duration_s

    def _hopeless(self) -> list[str]:
        """Nothing has completed for long, and much has failed: a server that is gone."""
        now = time.perf_counter()
        ok_s = max(self.crew.values(Field.LAST_OK_S))
        failed = self.crew.total(Field.FAILED)
        if ok_s != self._last_ok_s:
            self._last_ok_s, self._failures_before_ok = ok_s, failed
        patience_s = HOPELESS_LATER_S if ok_s else HOPELESS_FIRST_S
        since = failed - self._failures_before_ok
        if now - (ok_s or self.start_s) < patience_s or since < HOPELESS_FAILURES:
            return []
        return [f"gave up: {since:.0f} requests failed and none completed for {patience_s:.0f} s"]

    def _progress(self) -> Progress:
        now = time.perf_counter()
        warm_s = self._warm_s()
        total = self.crew.total
        return Progress(
            state="measuring" if warm_s is not None else "warming up",
            elapsed_s=max(0.0, now - self.start_s),
            share=self._share(now, warm_s),
            output_tok_s=self._rate(now),
            running=int(total(Field.RUNNING)),
            done=int(total(Field.COMPLETED)),
            failed=int(total(Field.FAILED)),
        )

    def _share(self, now: float, warm_s: float | None) -> float:
        if self.spec.requests is not None:
            return self.crew.total(Field.DONE) / self.spec.requests
        if warm_s is None or self.spec.duration_s is None:
            return 0.0
        return min(1.0, (now - warm_s) / self.spec.duration_s)

    def _rate(self, now: float) -> float:
        """Output tok/s over the last two seconds: chunks times the tokens per chunk so far."""
        chunks = self.crew.total(Field.CHUNKS)
        self._past.append((now, chunks))
        while len(self._past) > 2 and now - self._past[0][0] > RATE_OVER_S:
            self._past.popleft()
        then, before = self._past[0]
        brought = self.crew.total(Field.TOKEN_CHUNKS)
        ratio = self.crew.total(Field.TOKENS) / brought if brought else 1.0
        return (chunks - before) / (now - then) * ratio if now > then else 0.0
