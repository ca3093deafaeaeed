"""`up`, `status` and `down` of a fleet on a Kubernetes cluster: what the terminal shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from headrace.cli.output import console, print_json
from headrace.spec.fleet import Fleet
from headrace.targets.kubernetes.live.state import ClusterState
from headrace.targets.kubernetes.shape import Shape

COLOURS = {"ready": "green", "failed": "red"}


def fleet_on_cluster(name: str | None) -> tuple[Fleet, Path] | None:
    """The fleet of a file whose target is a cluster; None for anything else.

    A fleet on a cluster is named by its file: the cluster is its only registry.
    """
    if name is None or Path(name).suffix not in (".yaml", ".yml"):
        return None
    from headrace.spec.load import load_fleet

    fleet = load_fleet(Path(name))
    return (fleet, Path(name)) if fleet.target.kind == "kubernetes" else None


def up_on_cluster(fleet: Fleet, fleet_file: Path, *, force: bool, json: bool) -> None:
    """Apply a fleet and return when it serves."""
    from headrace.cli.plan import plan_for, show_plan
    from headrace.targets.kubernetes.live.connection import connect
    from headrace.targets.kubernetes.live.deploy import up
    from headrace.targets.kubernetes.render import remark

    planned = plan_for(fleet, fleet_file)
    show_plan(planned, brief=True)
    shape = _shape(fleet, fleet_file)
    if loose := remark(shape).format(fleet=fleet_file):
        console.print(f"[yellow]{escape(loose)}[/]", soft_wrap=True)
    with connect(shape.target.context) as api, _progress("connecting") as say:
        console.print(f"[dim]cluster {escape(api.server)}[/]", soft_wrap=True)
        try:
            state = up(api, shape, say=say, on_change=lambda now: say(summary(now)), force=force)
        except KeyboardInterrupt:
            console.print(f"what was applied stays; headrace down {fleet_file} removes it")
            raise
    console.print(f"[green]{len(state.replicas)} pods ready[/]")
    if state.gateway:
        console.print(f"[bold]ready[/]  {escape(state.gateway.url)} (inside the cluster)")
    console.print(f"[dim]headrace status {fleet_file}, down {fleet_file}[/]", soft_wrap=True)
    if json:
        print_json(state)


def status_on_cluster(fleet: Fleet, fleet_file: Path, *, json: bool) -> None:
    """Show a fleet's pods."""
    from headrace.targets.kubernetes.live.connection import connect
    from headrace.targets.kubernetes.live.state import read_state

    shape = _shape(fleet, fleet_file)
    with connect(shape.target.context) as api:
        state = read_state(api, shape)
    if json:
        print_json(state)
        return
    console.print(_table(state))
    if state.gateway:
        console.print(f"gateway {escape(state.gateway.url)}  {state.gateway.state}")
    console.print(f"{summary(state)} of {state.wanted}")


def down_on_cluster(fleet: Fleet, fleet_file: Path, *, volumes: bool, json: bool) -> None:
    """Remove a fleet from its cluster."""
    from headrace.targets.kubernetes.live.connection import connect
    from headrace.targets.kubernetes.live.deploy import down
    from headrace.targets.kubernetes.live.state import read_state

    shape = _shape(fleet, fleet_file)
    with connect(shape.target.context) as api, _progress("connecting") as say:
        left = down(api, shape, volumes=volumes, say=say, on_change=lambda now: say(summary(now)))
        state = read_state(api, shape)
    console.print(f"{escape(fleet.name)}: nothing runs")
    for name in left:
        console.print(f"[yellow]left[/] {escape(name)}: Headrace did not make it")
    if not volumes:
        console.print("[dim]the model's volumes stay; --volumes removes them[/]")
    if json:
        print_json(state)


def summary(state: ClusterState) -> str:
    """How many pods are in which state, and what the others wait for."""
    counts = Counter(one.state for one in state.replicas)
    words = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    doing = sorted({one.detail for one in state.replicas if one.detail and one.state != "ready"})
    return f"pods: {words or 'none'}" + (f" ({doing[0]})" if doing else "")


def _shape(fleet: Fleet, fleet_file: Path) -> Shape:
    from headrace.cli.plan import named_in, plan_for
    from headrace.targets.kubernetes.shape import shape_of

    planned = plan_for(fleet, fleet_file)
    with named_in(fleet_file, "target"):
        return shape_of(planned)


def _table(state: ClusterState) -> Table:
    title = f"{state.fleet} in namespace {state.namespace}"
    table = Table(title=title, title_justify="left", box=None)
    for column in ("pod", "node", "state", "detail"):
        table.add_column(column)
    for one in state.replicas:
        colour = COLOURS.get(one.state, "yellow")
        table.add_row(
            one.id, escape(one.node), f"[{colour}]{one.state}[/]", escape(one.detail or "")
        )
    return table


@contextmanager
def _progress(first: str) -> Iterator[Callable[[str], None]]:
    """A line that follows what is done; plain lines where there is no terminal."""
    said = ""
    with console.status(first) as line:

        def say(text: str) -> None:
            nonlocal said
            line.update(escape(text))
            if not console.is_terminal and text != said:
                console.print(escape(text), soft_wrap=True)
            said = text

        yield say
