"""`headrace down`: drain a fleet, stop it, and make sure that nothing of it is left."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli.follow import acts_on
from headrace.cli.output import console, print_json
from headrace.cli.status import summary
from headrace.errors import HeadraceError


def down(
    name: Annotated[
        str | None,
        typer.Argument(
            help="The fleet, or its file when it is on a cluster; may be left out when one runs."
        ),
    ] = None,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="On a cluster: remove the model's volumes too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the last state as JSON.")] = False,
) -> None:
    """Drain and stop a running fleet."""
    from headrace.cli.kubernetes import down_on_cluster, fleet_on_cluster
    from headrace.targets.local import registry
    from headrace.targets.local.fleet import attach, stop

    on_cluster = fleet_on_cluster(name)
    if on_cluster:
        down_on_cluster(*on_cluster, volumes=volumes, json=json)
        return
    entry = registry.find(name)
    acts_on(entry, "stopping")
    with console.status(f"stopping {entry.name}: requests in flight may finish") as line:
        last = stop(
            attach(entry), on_change=lambda state: line.update(f"{entry.name}: {summary(state)}")
        )
    if last is None:
        raise HeadraceError(
            f"fleet {entry.name!r} ended before it had started anything",
            hint=f"its log: {entry.run_dir}/logs/agent.log",
        )
    console.print(f"{entry.name}: {summary(last)}")
    if json:
        print_json(last)
