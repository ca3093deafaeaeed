"""One simulation from its parts to its outcome."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headrace.simulator.control import ControlPlane, Course, Happening
from headrace.simulator.fleet import SimulatedFleet, Tally
from headrace.simulator.reference import ReferenceFleet
from headrace.simulator.requests import DONE, FAILED, MEASURED, Requests
from headrace.simulator.scenario import Scenario
from headrace.simulator.workload import Closed, Workload

INSTALL_HINT = "the extra makes it over 100 times as fast: pip install 'headrace[simulate]'"
WARM_LIMIT_S = 3600.0
SLICES = 200
MORE_ROWS = 1.5

Progress = Callable[[float], None]
"""Called with the share of the simulated time that is done."""


def is_quick() -> bool:
    """Whether numba is installed, and with it the quick core."""
    return importlib.util.find_spec("numba") is not None


@dataclass(frozen=True)
class Setup:
    """A simulation: which fleet, which load, what happens, how long it is measured."""

    scenario: Scenario
    workload: Workload
    duration_s: float
    """Measured time, after the warm-up."""
    warmup_s: float = 0.0
    """Of an open loop; a closed one is warm when its first wave has ended."""
    course: Course = field(default_factory=Course)
    """Its times count from the end of the warm-up."""
    settle_s: float = 0.0
    """Closed loop: waited after the first wave, before the measurement."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was simulated. Times count from the simulation's start, `begin_s` is the window's."""

    requests: Requests
    tally: Tally
    """Of the whole time, the warm-up included."""
    begin_s: float
    end_s: float
    history: list[Happening]
    paid_replica_s: float
    """In the measured window."""
    elapsed_s: float
    quick: bool

    @property
    def duration_s(self) -> float:
        """The measured window."""
        return self.end_s - self.begin_s

    @cached_property
    def completed(self) -> NDArray[np.bool_]:
        """Measured requests that completed within the window."""
        return self._ended(DONE)

    @cached_property
    def failed(self) -> NDArray[np.bool_]:
        """Measured requests that failed within the window."""
        return self._ended(FAILED)

    def _ended(self, status: int) -> NDArray[np.bool_]:
        r = self.requests
        inside = (r.done_s > self.begin_s) & (r.done_s <= self.end_s)
        found: NDArray[np.bool_] = inside & (r.status == status) & (r.phase == MEASURED)
        return found

    def ttft_s(self) -> NDArray[np.float64]:
        """Of the completed requests."""
        r = self.requests
        return r.first_s[self.completed] - r.sent_s[self.completed]

    def tpot_s(self) -> NDArray[np.float64]:
        """Of the completed requests with more than one output token."""
        r = self.requests
        several = self.completed & (r.output_tokens > 1)
        return (r.done_s[several] - r.first_s[several]) / (r.output_tokens[several] - 1)

    def e2e_s(self) -> NDArray[np.float64]:
        """Of the completed requests."""
        r = self.requests
        return r.done_s[self.completed] - r.sent_s[self.completed]

    def tokens(self) -> tuple[int, int]:
        """Input and output tokens of the completed requests."""
        r = self.requests
        prompts = int(r.input_tokens[self.completed].sum(dtype=np.int64))
        return prompts, int(r.output_tokens[self.completed].sum(dtype=np.int64))

    @property
    def total_tok_s(self) -> float:
        """Input and output tokens of completed requests over the window."""
        return sum(self.tokens()) / self.duration_s


def simulate(setup: Setup, progress: Progress | None = None, *, quick: bool = True) -> Outcome:
    """Run it. `quick` False takes the reference implementation though numba is there."""
    began_s = time.perf_counter()
    quick = quick and is_quick()
    span_s = setup.warmup_s + setup.duration_s
    requests = setup.workload.requests(span_s, _expected_rows(setup))
    fleet = _make(setup, requests, quick=quick)
    run = _Run(setup, fleet, progress or (lambda _: None))
    begin_s = run.warm_up()
    run.play(begin_s)
    return Outcome(
        requests=fleet.requests.used(),
        tally=fleet.tally(),
        begin_s=begin_s,
        end_s=begin_s + setup.duration_s,
        history=[replace(h, at_s=h.at_s - begin_s) for h in run.control.history],
        paid_replica_s=run.control.paid_s,
        elapsed_s=time.perf_counter() - began_s,
        quick=quick,
    )


def _make(setup: Setup, requests: Requests, *, quick: bool) -> SimulatedFleet:
    closed = setup.workload.closed
    warm = setup.workload.warm_lengths() if closed else None
    if quick:
        from headrace.simulator.fast.core import FastFleet

        return FastFleet(setup.scenario, requests, closed, warm)
    return ReferenceFleet(setup.scenario, requests, closed, warm)


def _expected_rows(setup: Setup) -> int:
    """A first guess; the table grows when it was too small."""
    closed = setup.workload.closed
    return 6 * closed.concurrency if isinstance(closed, Closed) else 0


class _Run:
    """Advances a fleet and its control plane together, in slices for the progress."""

    def __init__(self, setup: Setup, fleet: SimulatedFleet, progress: Progress) -> None:
        self.setup, self.fleet, self.progress = setup, fleet, progress
        self.control = ControlPlane(setup.course, setup.scenario, fleet)

    def warm_up(self) -> float:
        """To the end of the warm-up; returns when that was."""
        if self.setup.workload.closed is None:
            self._advance(self.setup.warmup_s)
            return self.setup.warmup_s
        while self.fleet.warm_s is None and self.fleet.now_s < WARM_LIMIT_S:
            self._advance(self.fleet.now_s + 1.0)
        self._advance(self.fleet.now_s + self.setup.settle_s)
        return self.fleet.now_s

    def play(self, begin_s: float) -> None:
        """The measured time."""
        self.control.begin()
        end_s = begin_s + self.setup.duration_s
        slice_s = self.setup.duration_s / SLICES
        while self.fleet.now_s < end_s:
            self._advance(min(end_s, self.control.next_s, self.fleet.now_s + slice_s))
            self.control.act()
            self.progress((self.fleet.now_s - begin_s) / self.setup.duration_s)

    def _advance(self, until_s: float) -> None:
        while not self.fleet.advance(until_s):
            rows = self.fleet.requests.capacity
            more = max(1000, int(rows * (MORE_ROWS - 1)))
            self.fleet.requests.append(self.setup.workload.block(more))
