"""Turns what a running fleet shows into how many of its replicas should serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from headrace.dashboard.sample import ReplicaSample
from headrace.simulator.autoscaling import Decision, Observation
from headrace.targets.deployment import Deployment


class ScalingRule(Protocol):
    """Who decides; `headrace.simulator.autoscaling.Autoscaler` does, and was tried in simulation.

    Another one may look at anything that it likes: it is handed the observation, and keeps what it
    wants to remember.
    """

    def decide(self, seen: Observation) -> Decision:
        """How many replicas should be ready or starting, and why."""


def observe(
    deployment: Deployment, samples: Mapping[str, ReplicaSample], now_s: float
) -> Observation:
    """The fleet as a rule sees it. `now_s` is on a clock that does not go back."""
    states = [replica.state for replica in deployment.replicas]
    return Observation(
        at_s=now_s,
        ready=states.count("ready"),
        starting=states.count("starting"),
        in_flight=sum(sample.running + sample.waiting for sample in samples.values()),
    )
