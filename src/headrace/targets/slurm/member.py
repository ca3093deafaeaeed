"""One node of the job: `srun` starts `python -m headrace.targets.slurm.member RUN` on each.

It writes the node's assignment and becomes its agent, so that Slurm's signals reach the agent
itself, and the agent ends when Slurm's own process of the node does. With RUN/link.json (`headrace
up`) the agent reports to the fleet's head; without it (the job was submitted by hand) the node has
a gateway of its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from headrace.errors import HeadraceError, InputError
from headrace.files import replace_file
from headrace.gateway.admission import gateway_spec
from headrace.node.assignment import Assignment
from headrace.node.job import Link
from headrace.planner.plan import Plan
from headrace.targets.parts import assignments
from headrace.targets.places import node_folder, node_names
from headrace.targets.slurm.commands import node_address

LOOPBACK = "127.0.0.1"


def assignment(run_dir: Path, index: int, host: str) -> Assignment:
    """What node `index` of the job runs; `host` is the address at which others reach it.

    Raises InputError when the plan has no such node.
    """
    plan = Plan.model_validate_json((run_dir / "plan.json").read_bytes())
    names = node_names(plan)
    if index >= len(names):
        raise InputError(
            f"the plan is for {len(names)} nodes, and this is number {index + 1}",
            hint="leave --nodes to fleet.sbatch",
        )
    link_file = run_dir / "link.json"
    link = Link.model_validate_json(link_file.read_bytes()) if link_file.exists() else None
    gateway = gateway_spec(plan, host=host) if link is None else None
    parts = assignments(
        plan,
        names,
        link,
        lambda name: node_folder(run_dir, name),
        lambda _: LOOPBACK if gateway else host,
        gateways=gateway,
    )
    return parts[index]


def write(assigned: Assignment) -> Path:
    """Write the assignment into the node's folder and return its path."""
    (assigned.run_dir / "logs").mkdir(parents=True, exist_ok=True)
    path = assigned.run_dir / "assignment.json"
    replace_file(path, assigned.model_dump_json(indent=2) + "\n")
    return path


def main() -> None:
    """Become the agent of the node that Slurm says this is."""
    try:
        index, node = int(os.environ["SLURM_NODEID"]), os.environ["SLURMD_NODENAME"]
    except KeyError as missing:
        sys.exit(f"{missing.args[0]} is not set: `srun` starts this, in a job of fleet.sbatch")
    if len(sys.argv) != 2:
        sys.exit("usage: python -m headrace.targets.slurm.member RUN")
    try:
        path = write(assignment(Path(sys.argv[1]).resolve(), index, node_address(node)))
    except HeadraceError as error:
        sys.exit(f"error: {node}: {error}")
    agent = [sys.executable, "-m", "headrace.node.agent", "--assignment", str(path)]
    os.execv(sys.executable, [*agent, "--parent", str(os.getppid())])


if __name__ == "__main__":
    main()
