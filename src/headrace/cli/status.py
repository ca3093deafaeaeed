"""`headrace status`: the replicas of a running fleet, and its gateway."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from headrace.cli.output import console, print_json
from headrace.errors import HeadraceError
from headrace.targets.deployment import Deployment

COLOURS = {
    "ready": "green",
    "starting": "yellow",
    "draining": "yellow",
    "failed": "red",
    "stopped": "dim",
}


def status(
    name: Annotated[
        str | None,
        typer.Argument(
            help="The fleet, or its file when it is on a cluster; may be left out when one runs."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the replicas of a running fleet."""
    from headrace.cli.kubernetes import fleet_on_cluster, status_on_cluster

    on_cluster = fleet_on_cluster(name)
    if on_cluster:
        status_on_cluster(*on_cluster, json=json)
        return
    deployment = current_state(name)
    if json:
        print_json(deployment)
    else:
        show_deployment(deployment)


def current_state(name: str | None) -> Deployment:
    """A fleet's state; that of one whose agent has ended is reported once more, then forgotten."""
    from headrace.targets.local import registry
    from headrace.targets.local.fleet import read_deployment, settle

    entry = registry.find(name)
    found = read_deployment(entry.run_dir) if entry.alive else settle(entry)
    if found is None:
        raise HeadraceError(
            f"fleet {entry.name!r} has not reported a state yet", hint="try again in a moment"
        )
    return found


def show_deployment(deployment: Deployment) -> None:
    """A line for people per replica, then where to send requests."""
    console.print(deployment_table(deployment))
    gateway = deployment.gateway
    if gateway is not None:
        console.print(
            f"gateway {gateway.url}  {_coloured(gateway.state)}  {escape(gateway.detail or '')}"
        )
    console.print(f"[dim]logs: {escape(deployment.run_dir)}/logs[/]", soft_wrap=True)


def deployment_table(deployment: Deployment) -> Table:
    """The replicas and their states."""
    simulated = " (simulated GPUs)" if deployment.engine == "simulated" else ""
    table = Table(title=f"{deployment.fleet}{simulated}", title_justify="left", box=None)
    for column in ("replica", "node", "state", "url", "detail"):
        table.add_column(column, no_wrap=column == "url")
    for replica in deployment.replicas:
        table.add_row(
            replica.id,
            escape(replica.node),
            _coloured(replica.state),
            replica.url,
            escape(replica.detail or ""),
        )
    return table


def _coloured(state: str) -> str:
    return f"[{COLOURS[state]}]{state}[/]"
