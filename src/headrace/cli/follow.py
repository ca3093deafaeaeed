"""Following a running fleet until what was asked of it has come about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.markup import escape

from headrace.cli.output import console
from headrace.cli.start import describe
from headrace.errors import HeadraceError
from headrace.targets.deployment import Deployment

if TYPE_CHECKING:
    from headrace.targets.local.registry import Entry

PERIOD_S = 0.2


def acts_on(entry: Entry, doing: str) -> None:
    """Say which fleet is meant before it is changed: its name may have been left out."""
    where = escape(str(entry.run_dir))
    console.print(f"{doing} fleet {escape(entry.name)}  [dim]{where}[/]", soft_wrap=True)


def follow(entry: Entry, done: Callable[[Deployment], bool], doing: str) -> Deployment:
    """The fleet's state once `done` says so; shown meanwhile.

    Ctrl-C ends the following, not what was asked for: the agent goes on with that. Raises
    HeadraceError when the agent ends.
    """
    from headrace.cli.status import state_of

    with console.status(doing) as line:
        while True:
            state = state_of(entry)
            line.update(f"{doing}: {progress(state)}")
            if done(state):
                return state
            if not entry.alive:
                raise HeadraceError(
                    f"the agent of fleet {entry.name!r} ended",
                    hint=f"its log: {entry.run_dir}/logs/agent.log",
                )
            time.sleep(PERIOD_S)


def progress(state: Deployment) -> str:
    """One line about the replicas, and about a rollout when there is one."""
    rollout = state.rollout
    if rollout is None:
        return describe(state)
    return f"{rollout.state} {rollout.done} of {rollout.total} processes; {describe(state)}"
