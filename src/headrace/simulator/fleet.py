"""What a simulated fleet can do, whichever implementation runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.simulator.chance import hashed
from headrace.simulator.requests import Requests
from headrace.simulator.scenario import Ints, Scenario
from headrace.simulator.workload import Closed

RING_POINTS = 64
"""Points of each replica on the ring of the affinity policy."""


@dataclass(frozen=True, eq=False)
class Tally:
    """Totals per replica since the start."""

    steps: Ints
    busy_s: NDArray[np.float64]
    generated_tokens: Ints
    prompt_tokens: Ints
    """Computed, so a prompt counts again after a preemption, and not where the cache had it."""
    preemptions: Ints
    decoded: Ints
    """Decoding sequences, summed over steps."""


class SimulatedFleet(Protocol):
    """A fleet between two moments of virtual time. Replicas and gateways are numbers."""

    requests: Requests

    @property
    def now_s(self) -> float:
        """Virtual time."""

    @property
    def warm_s(self) -> float | None:
        """When the first wave of a closed loop had ended; None before."""

    def advance(self, until_s: float) -> bool:
        """Run to that time, its events included; False when the table of requests is used up."""

    def set_backends(self, gateway: int, role: int, replicas: Ints) -> None:
        """The replicas that a gateway knows as healthy, from now on."""

    def fail(self, replica: int) -> None:
        """It dies at once; what it held is broken."""

    def start(self, replica: int) -> None:
        """It is alive, empty. Nothing is sent to it before it is a backend."""

    def in_flight(self) -> Ints:
        """Requests in every replica, running and waiting."""

    def held(self) -> int:
        """Requests between the clients and the replicas: at a picker, on the wire, on retry."""

    def free_pages(self) -> Ints:
        """Pages in no one's use."""

    def tally(self) -> Tally:
        """What was done so far."""


def check_groups(scenario: Scenario, requests: Requests, closed: Closed | None) -> None:
    """Raises ValueError where only one of the two has shared prefixes, as with a trace: the table
    of its requests has no column for them.
    """
    talks = closed is not None and closed.talk is not None
    most = scenario.prefix_groups
    if (len(requests.group) > 0) != (talks or most > 0):
        raise ValueError(f"{most} prefix groups, and {len(requests.group)} requests that have one")
    if not talks and most <= int(requests.group.max(initial=-1)):
        raise ValueError(f"{most} prefix groups, and requests of group {requests.group.max()}")


def ring(replicas: Ints) -> tuple[Ints, Ints]:
    """Points of the affinity policy's hash ring, in order, and the replica that owns each."""
    points = [
        (hashed(int(replica), 0x5BD1E995, point), int(replica))
        for replica in replicas
        for point in range(RING_POINTS)
    ]
    points.sort()
    table = np.array(points, np.int64).reshape(-1, 2)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])
