"""Starting and stopping a planned fleet with progress: what `run` and `up` share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from headrace.cli.output import console
from headrace.errors import InputError
from headrace.node.job import NodeJob
from headrace.planner.plan import Plan
from headrace.spec.fleet import Fleet
from headrace.targets.deployment import Deployment
from headrace.targets.local import fleet as local
from headrace.targets.starters import STARTERS, starter

UP_PROCESSES = 8
"""Processes of a simulated fleet that stays: restarts and updates go one process at a time."""


def start_fleet(
    planned: Plan, run_dir: Path, *, attached: bool, gateway_port: int
) -> tuple[local.RunningFleet, Deployment]:
    """Start every replica and the gateway; return when all are ready.

    Raises HeadraceError with the replica's own reason when one fails; nothing is left running.
    """
    job = job_for(planned, run_dir, gateway_port, stays=not attached)
    _say_what_is_open(job)
    fleet = local.start(job, attached=attached)
    with _status("starting") as show:
        deployment = local.wait_ready(fleet, on_change=show)
    console.print(f"{len(deployment.replicas)} replicas ready", style="green")
    return fleet, deployment


def job_for(planned: Plan, run_dir: Path, gateway_port: int, *, stays: bool) -> NodeJob:
    """What this machine's agent runs: the whole fleet, or the head of one on other machines."""
    kind = planned.fleet.target.kind
    if kind == "local":
        from headrace.targets.local.job import plan_job

        processes = UP_PROCESSES if stays else None
        return plan_job(planned, run_dir, gateway_port=gateway_port, processes=processes)
    return starter(kind).plan_job(planned, run_dir, gateway_port=gateway_port)


def _say_what_is_open(job: NodeJob) -> None:
    """A fleet on several machines listens beyond loopback: nobody should learn of it later."""
    from headrace.targets.places import is_loopback

    head = job.coordinator
    if head is not None and not is_loopback(head.host):
        console.print(
            f"[yellow]open[/]  the nodes report to this machine at {head.host} (with a token), and "
            "the replicas listen on the nodes' own addresses"
        )


def require_startable(fleet: Fleet, fleet_file: Path, kinds: Collection[str] = STARTERS) -> None:
    """Raises InputError for a target that the verb cannot start."""
    kind = fleet.target.kind
    if kind not in kinds:
        from headrace.spec.load import where

        raise InputError(
            f"{where(fleet_file, 'target', 'kind')}: {kind} cannot be started by this verb; "
            f"expected {', '.join(kinds)}",
            hint=f"set target.kind to one of these; other verbs may know {kind}: `headrace --help`",
        )


def stop_fleet(fleet: local.RunningFleet) -> None:
    """Drain and stop; return when no process is left."""
    with _status("draining and stopping") as show:
        local.stop(fleet, on_change=show)


def describe(deployment: Deployment) -> str:
    """One line: how many replicas are in which state, and what the starting ones are doing."""
    states = Counter(replica.state for replica in deployment.replicas)
    line = ", ".join(f"{count} {state}" for state, count in states.items())
    doing = {r.detail for r in deployment.replicas if r.state == "starting" and r.detail}
    return f"replicas: {line}" + (f" ({', '.join(sorted(doing))})" if doing else "")


@contextmanager
def _status(first: str) -> Iterator[local.OnChange]:
    """A spinner whose text follows the deployment; plain lines where there is no terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(first, total=None)
        said = ""

        def show(deployment: Deployment) -> None:
            nonlocal said
            text = describe(deployment)
            progress.update(task, description=text)
            if not console.is_terminal and text != said:
                console.print(text)
            said = text

        yield show
