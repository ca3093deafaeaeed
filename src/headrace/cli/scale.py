"""`headrace scale`: how many of a fleet's replicas serve."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli.follow import acts_on, follow
from headrace.cli.output import console, print_json
from headrace.errors import HeadraceError, InputError
from headrace.targets.deployment import Deployment


def scale(
    replicas: Annotated[int, typer.Argument(min=0, help="Replicas that shall serve.", metavar="N")],
    name: Annotated[
        str | None, typer.Argument(help="The fleet; may be left out when one runs.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the deployment as JSON.")] = False,
) -> None:
    """Let N replicas of a running fleet serve: the others are drained and ended."""
    from headrace.node.wanted import ask
    from headrace.targets.local import registry

    entry = registry.find_running(name)
    from headrace.cli.status import state_of

    planned = len(state_of(entry).replicas)
    if replicas > planned:
        raise InputError(
            f"fleet {entry.name!r} has {planned} replicas, {replicas} were asked for",
            hint="plan a fleet on more GPUs: headrace plan FLEET.yaml, then down and up",
        )
    acts_on(entry, f"scaling to {replicas}:")
    ask(entry.run_dir, replicas=replicas)
    last = follow(entry, lambda state: settled(state, replicas), f"scaling to {replicas}")
    bad = [r for r in last.replicas if r.state == "failed"]
    console.print(f"{entry.name}: {serving(last)} of {planned} replicas serve")
    if json:
        print_json(last)
    if bad:
        raise HeadraceError(f"replica {bad[0].id} failed: {bad[0].detail}", hint=f"{bad[0].log}")


def serving(state: Deployment) -> int:
    """Replicas that take requests."""
    return sum(replica.state == "ready" for replica in state.replicas)


def settled(state: Deployment, wanted: int) -> bool:
    """Whether as many serve as were wanted, and nobody is on the way out or for ever on the way in.

    A replica that failed counts as there: its agent starts it again, or has given it up.
    """
    states = [replica.state for replica in state.replicas]
    there = states.count("ready") + states.count("failed")
    return there == wanted and states.count("stopped") == len(states) - wanted
