"""Which targets are started from here: a line for each, and nothing else changes.

All stand behind one interface: a target makes a job for this machine's agent of a plan. Where the
fleet is on other machines, that agent is their head. `up`, `status`, `logs`, `scale`, `update` and
`down` deal with the agent alone.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, cast

from headrace.node.job import NodeJob
from headrace.planner.plan import Plan

STARTERS: dict[str, str] = {
    "local": "headrace.targets.local.job",
    "ray": "headrace.targets.ray.job",
    "slurm": "headrace.targets.slurm.job",
}
"""The module that makes the job for a kind of target."""


class Starter(Protocol):
    """What a module of `STARTERS` offers."""

    def plan_job(self, plan: Plan, run_dir: Path, *, gateway_port: int = 0) -> NodeJob:
        """The job of this machine's agent. Nothing is started or submitted yet."""


def starter(kind: str) -> Starter:
    """The module for a kind of target; KeyError when it is not started from here."""
    return cast(Starter, importlib.import_module(STARTERS[kind]))
