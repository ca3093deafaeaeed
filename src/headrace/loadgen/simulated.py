"""Whether a simulated engine kept its own schedule while it was loaded.

Its figures are the model's only as long as the machine that simulates can keep up. It counts what
it could not catch up with; a rise during the run is a reason against the measurement.
"""

from __future__ import annotations

import re

from headrace.loadgen.endpoint import Endpoint
from headrace.loadgen.preflight import fetch

GIVEN_UP = re.compile(
    rb"^headrace_simulated_lag_seconds_given_up(?:\{[^}]*\})? (\S+)$", re.MULTILINE
)
SHARE_MAX = 0.01
"""How much of the measured time an engine may have fallen behind."""


def given_up_s(endpoints: list[Endpoint], key: str | None) -> float:
    """Seconds of the schedule that the servers never caught up with, the worst one's.

    Behind a gateway this is whichever replica answers; they share a machine.
    """
    found = [
        float(value)
        for endpoint in endpoints
        for value in GIVEN_UP.findall(fetch(endpoint, "/metrics", key))
    ]
    return max(found, default=0.0)


def fell_behind(before_s: float, after_s: float, duration_s: float) -> list[str]:
    """The reason against the measurement, if there is one."""
    lost_s = after_s - before_s
    if lost_s <= SHARE_MAX * duration_s:
        return []
    text = f"the simulated engine fell {lost_s:.1f} s behind its own schedule"
    return [f"{text}: this machine is too slow to simulate that many replicas"]
