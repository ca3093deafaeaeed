"""`headrace status`: the replicas of a running fleet, and its gateway."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from headrace.cli.output import console, print_json
from headrace.errors import HeadraceError
from headrace.targets.deployment import Deployment, GatewayState, GpuState

if TYPE_CHECKING:
    from headrace.targets.local.registry import Entry

WATCH_PERIOD_S = 0.5
GIB = 2**30
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
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing it until Ctrl-C or its end.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the replicas of a running fleet."""
    from headrace.cli.kubernetes import fleet_on_cluster, status_on_cluster

    on_cluster = fleet_on_cluster(name)
    if on_cluster:
        status_on_cluster(*on_cluster, json=json)
        return
    if watch and not json:
        watch_fleet(name)
        return
    deployment = current_state(name)
    if json:
        print_json(deployment)
    else:
        show_deployment(deployment)


def current_state(name: str | None) -> Deployment:
    """A fleet's state; that of one whose agent has ended is reported once more, then forgotten."""
    from headrace.targets.local import registry

    return state_of(registry.find(name))


def state_of(entry: Entry) -> Deployment:
    """What the agent last said. Raises HeadraceError when it has not spoken yet."""
    from headrace.targets.local.fleet import read_deployment, settle

    found = read_deployment(entry.run_dir) if entry.alive else settle(entry)
    if found is None:
        raise HeadraceError(
            f"fleet {entry.name!r} has not reported a state yet", hint="try again in a moment"
        )
    return found


def watch_fleet(name: str | None) -> None:
    """Draw the state over and over; on no terminal, a line at every change."""
    from headrace.targets.local import registry

    entry = registry.find(name)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        said = ""
        while entry.alive:
            state = state_of(entry)
            live.update(whole(state), refresh=console.is_terminal)
            line = summary(state)
            if not console.is_terminal and line != said:
                console.print(line)
            said = line
            time.sleep(WATCH_PERIOD_S)
    show_deployment(state_of(entry))


def summary(state: Deployment) -> str:
    """How many replicas are in which state: `3 stopped, 1 failed`."""
    counts = Counter(replica.state for replica in state.replicas)
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def show_deployment(deployment: Deployment) -> None:
    """A line for people per replica, then where to send requests."""
    console.print(whole(deployment), soft_wrap=False)
    console.print(f"[dim]logs: {escape(deployment.run_dir)}/logs[/]", soft_wrap=True)


def whole(deployment: Deployment) -> Group:
    """The replicas, then the nodes, the gateway and the rollout where there are any."""
    lines: list[RenderableType] = [deployment_table(deployment)]
    for node in deployment.nodes:
        own = f"  gateway {node.gateway.url}" if node.gateway else ""
        lines.append(f"node {escape(node.name)}  {node.state}{own}  {escape(node.detail or '')}")
    for gpu in deployment.gpus:
        used = f"{gpu.memory_used_bytes / GIB:.0f} of {gpu.memory_total_bytes / GIB:.0f} GiB"
        bad = f"  [red]{escape(gpu.trouble)}[/]" if gpu.trouble else ""
        heat = f"{gpu.busy_percent} % busy  {_clock(gpu)}{gpu.temperature_c} °C"
        lines.append(f"GPU {escape(gpu.node)}/{gpu.index} {escape(gpu.name)}  {used}  {heat}{bad}")
    gateway = deployment.gateway
    if gateway is not None:
        lines.append(_gateway_line(gateway))
    rollout = deployment.rollout
    if rollout is not None:
        why = f": {escape(rollout.detail)}" if rollout.detail else ""
        lines.append(f"plan {rollout.generation}  {rollout.state}{why}")
    return Group(*lines)


def _clock(gpu: GpuState) -> str:
    return "" if gpu.clock_mhz is None else f"{gpu.clock_mhz:,} MHz  "


def _gateway_line(gateway: GatewayState) -> str:
    words = [f"gateway {gateway.url}", _coloured(gateway.state), escape(gateway.detail or "")]
    if gateway.standby:
        why = f" ({escape(gateway.standby.detail)})" if gateway.standby.detail else ""
        words.append(f"standby {_coloured(gateway.standby.state)}{why}")
    if gateway.restarts:
        words.append(f"{gateway.restarts} restarts")
    return "  ".join(words)


def deployment_table(deployment: Deployment) -> Table:
    """The replicas and their states."""
    simulated = " (simulated GPUs)" if deployment.engine == "simulated" else ""
    table = Table(title=f"{deployment.fleet}{simulated}", title_justify="left", box=None)
    for column in ("replica", "node", "state", "url", "detail"):
        table.add_column(column, no_wrap=column == "url")
    for replica in deployment.replicas:
        again = f" ({replica.restarts} restarts)" if replica.restarts else ""
        table.add_row(
            replica.id,
            escape(replica.node),
            _coloured(replica.state),
            replica.url,
            escape(replica.detail or "") + again,
        )
    return table


def _coloured(state: str) -> str:
    return f"[{COLOURS[state]}]{state}[/]"
