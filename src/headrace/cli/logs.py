"""`headrace logs`: what a running fleet's processes print."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from headrace.errors import InputError
from headrace.node.job import CoordinatorSpec, NodeJob
from headrace.node.log import LogFollower, tail

PERIOD_S = 0.2


def logs(
    name: Annotated[
        str | None, typer.Argument(help="The fleet; may be left out when one runs.")
    ] = None,
    replica: Annotated[
        str | None, typer.Option("--replica", help="Only the process of this replica.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the fleet ends, or Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--tail", "-n", min=0, help="Lines to begin with, per process.")
    ] = 50,
) -> None:
    """Show a running fleet's logs."""
    from headrace.targets.local import registry
    from headrace.targets.local.fleet import agent_log, job_path

    entry = registry.find(name)
    job = NodeJob.model_validate_json(job_path(entry.run_dir).read_bytes())
    chosen = choose_logs(job, replica, agent_log(entry.run_dir))
    prefix = len(chosen) > 1
    followers = {label: LogFollower(path, _size(path)) for label, path in chosen.items()}
    for label, path in chosen.items():
        _print(label if prefix else None, tail(path, lines) if lines else [])
    while follow and entry.alive:
        time.sleep(PERIOD_S)
        for label, follower in followers.items():
            _print(label if prefix else None, follower.new_lines())


def choose_logs(job: NodeJob, replica: str | None, agent_log: Path) -> dict[str, Path]:
    """Log files by the name of what writes them; those of one replica's process when given.

    Raises InputError for a replica that the job does not have.
    """
    from headrace.gateway.process import gateway_logs

    if job.coordinator is not None:
        return node_logs(job, job.coordinator, replica, agent_log)
    if replica is None:
        gateway = (
            {path.stem: path for path in gateway_logs(job.run_dir)[:-1]} if job.gateway else {}
        )
        return {**{p.name: p.log for p in job.processes}, **gateway, "agent": agent_log}
    for process in job.processes:
        if any(spec.id == replica for spec in process.replicas):
            return {process.name: process.log}
    ids = [spec.id for process in job.processes for spec in process.replicas]
    raise InputError(
        f"fleet {job.fleet!r} has no replica {replica!r}",
        hint=f"choose one of: {', '.join(ids)}",
    )


def node_logs(
    job: NodeJob, head: CoordinatorSpec, replica: str | None, agent_log: Path
) -> dict[str, Path]:
    """The logs of a fleet on several machines: the head's own, and what has come from the nodes.

    With a replica those of its node. Raises InputError for a replica that no node has.
    """
    from headrace.targets.places import node_folder

    nodes = [node for node in head.nodes if replica in (None, *node.replicas)]
    if not nodes:
        ids = [name for node in head.nodes for name in node.replicas]
        raise InputError(
            f"fleet {job.fleet!r} has no replica {replica!r}",
            hint=f"choose one of: {', '.join(ids)}",
        )
    own = {path.stem: path for path in sorted((job.run_dir / "logs").glob("*.log"))}
    found = {} if replica else {**own, "agent": agent_log}
    for node in nodes:
        folder = node_folder(job.run_dir, node.name) / "logs"
        found |= {f"{node.name}/{path.stem}": path for path in sorted(folder.glob("*.log"))}
    return found


def _print(label: str | None, lines: list[str]) -> None:
    """Log lines are the verb's result: they go to stdout, for grep and less."""
    for line in lines:
        typer.echo(f"{label}: {line}" if label else line)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
