"""What a fleet's owner asks of an agent while it runs. The whole wish, not a change of it.

Level-triggered, so that nothing depends on who was there when it was said: a command line that
was killed, an answer that was lost or an agent that was busy change nothing, the next look sets
things right. On one machine it is the file `wanted.json` in the run's folder; an agent that has a
coordinator gets it as the answer to its reports (`headrace.node.link`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from headrace.files import replace_file
from headrace.planner.plan import Plan


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rollout(_Part):
    """Run the replicas by another plan: one process after the other, back at the first bad one.

    The layout must be that of the running fleet: only what the engine is told may differ.
    `generation` counts a fleet's plans from 1, the one that it was started with.
    """

    generation: int = Field(ge=2)
    plan: Plan


class Wanted(_Part):
    """`serial` grows with every wish; an agent never goes back to an older one.

    stage: `serve`, or `stop` (drain, then end).
    replicas: how many of this agent's replicas serve; None: all of them.
    rollout: the plan that they should run; None: the one that they were started with.
    """

    serial: int = 0
    stage: Literal["serve", "stop"] = "serve"
    replicas: int | None = Field(None, ge=0)
    rollout: Rollout | None = None


def wanted_path(run_dir: Path) -> Path:
    """Where the wish for a fleet lies."""
    return run_dir / "wanted.json"


def read_wanted(run_dir: Path) -> Wanted:
    """The present wish; the default one when nothing was asked for yet.

    Raises ValueError when the file is not one (it is replaced whole, so never half of it).
    """
    try:
        return Wanted.model_validate_json(wanted_path(run_dir).read_bytes())
    except FileNotFoundError:
        return Wanted()


def ask(run_dir: Path, **changes: object) -> Wanted:
    """Change parts of the wish and return it whole, with the next serial."""
    old = read_wanted(run_dir)
    new = Wanted.model_validate({**dict(old), **changes, "serial": old.serial + 1})
    replace_file(wanted_path(run_dir), new.model_dump_json(indent=2) + "\n")
    return new
