"""One node of the job: `srun` starts `python -m headrace.targets.slurm.member RUN` on each.

It builds the node's job from RUN/plan.json and becomes the node agent, so that Slurm's signals
reach the agent itself.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.files import replace_file
from headrace.planner.plan import Plan
from headrace.targets.cluster.share import node_folder, node_job

ASK_S = 30.0


def prepare(run_dir: Path, index: int, node: str, host: str) -> Path:
    """Write the node's job.json below the run's folder and return its path."""
    plan = Plan.model_validate_json((run_dir / "plan.json").read_bytes())
    folder = node_folder(run_dir, index)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    job = node_job(plan, folder, index, node=node, host=host)
    path = folder / "job.json"
    replace_file(path, job.model_dump_json(indent=2) + "\n")
    return path


def node_address(node: str) -> str:
    """The numeric address that Slurm has for a node. Raises HeadraceError when it has none."""
    command = ["scontrol", "show", "node", node, "--oneliner"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=False)
    found = re.search(r"\bNodeAddr=(\S+)", done.stdout)
    if found is None:
        raise HeadraceError(f"`{' '.join(command)}` names no address: {done.stderr.strip()}")
    try:
        return str(socket.getaddrinfo(found[1], None, type=socket.SOCK_STREAM)[0][4][0])
    except socket.gaierror as error:
        raise HeadraceError(f"the address {found[1]} of node {node}: {error.strerror}") from error


def main() -> None:
    """Become the agent of the node that Slurm says this is."""
    try:
        index, node = int(os.environ["SLURM_NODEID"]), os.environ["SLURMD_NODENAME"]
    except KeyError as missing:
        sys.exit(f"{missing.args[0]} is not set: `srun` starts this, in a job of fleet.sbatch")
    if len(sys.argv) != 2:
        sys.exit("usage: python -m headrace.targets.slurm.member RUN")
    try:
        job = prepare(Path(sys.argv[1]).resolve(), index, node, node_address(node))
    except HeadraceError as error:
        sys.exit(f"error: {error}")
    os.execv(sys.executable, [sys.executable, "-m", "headrace.node.agent", str(job)])


if __name__ == "__main__":
    main()
