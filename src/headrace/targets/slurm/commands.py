"""Slurm's own commands, and what their answers mean."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import HeadraceError, InputError

ASK_S = 60.0
RETRY_S = 2.0
TRIES = 5
"""A busy controller turns commands away; that is no reason to give a job up."""
OVER = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}


@dataclass(frozen=True)
class JobState:
    """What `scontrol show job` says: a state such as RUNNING, a reason, the nodes in short form."""

    state: str
    reason: str
    nodes: str

    @property
    def is_over(self) -> bool:
        """Whether the job will run no more."""
        return self.state in OVER


def run(command: Sequence[str]) -> str:
    """A command's output. Raises HeadraceError with its own words when it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ASK_S, check=False, errors="replace"
        )
    except FileNotFoundError:
        raise InputError(
            f"there is no `{command[0]}` here",
            hint="start a Slurm fleet where Slurm's commands are, such as a login node; "
            "`headrace render slurm` writes the job anywhere",
        ) from None
    except subprocess.TimeoutExpired:
        raise HeadraceError(f"`{command[0]}` gave no answer for {ASK_S:g} s") from None
    if done.returncode:
        raise HeadraceError(_said(command[0], done.stderr))
    return done.stdout


def _said(command: str, stderr: str) -> str:
    """Slurm says the reason first and that it failed last."""
    lines = [line.removeprefix(f"{command}: ") for line in stderr.splitlines() if line.strip()]
    reasons = [line.removeprefix("error: ") for line in lines]
    return f"{command}: {'; '.join(reasons) or 'it failed and did not say why'}"


def submit(script: Path, folder: Path) -> str:
    """Submit the script for a run's folder and return the job's id."""
    log = folder / "logs" / "slurm.log"
    command = ["sbatch", "--parsable", "--chdir", str(folder), "--output", str(log)]
    return run([*command, str(script), str(folder)]).strip().partition(";")[0]


def job_state(job: str) -> JobState | None:
    """The job's state; None when Slurm has forgotten it, which it does minutes after its end."""
    for left in reversed(range(TRIES)):
        try:
            return parse_job(run(["scontrol", "show", "job", job, "--oneliner"]))
        except HeadraceError as error:
            if "Invalid job id" in str(error):
                return None
            if left == 0:
                raise
            time.sleep(RETRY_S)
    return None


def parse_job(text: str) -> JobState:
    """The job of a line that `scontrol show job --oneliner` printed."""
    found = dict(re.findall(r"\b(JobState|Reason|NodeList)=(\S*)", text))
    nodes = found.get("NodeList", "")
    return JobState(
        state=found.get("JobState", "UNKNOWN"),
        reason=found.get("Reason", "None"),
        nodes="" if nodes == "(null)" else nodes,
    )


def cancel(job: str) -> None:
    """End a job; one that has ended is left alone."""
    run(["scancel", "--quiet", job])


def node_address(node: str) -> str:
    """The numeric address that Slurm has for a node. Raises HeadraceError when it has none."""
    answer = run(["scontrol", "show", "node", node, "--oneliner"])
    found = re.search(r"\bNodeAddr=(\S+)", answer)
    if found is None:
        raise HeadraceError(f"Slurm names no address of node {node}: {answer.strip()}")
    return resolve(found[1])


def controller() -> str:
    """The address of Slurm's controller: the way there is the way to the nodes."""
    found = re.search(r"SlurmctldHost\S*\s*=\s*(\S+)", run(["scontrol", "show", "config"]))
    if found is None:
        raise HeadraceError("`scontrol show config` names no SlurmctldHost")
    name, _, address = found[1].partition("(")
    return address.rstrip(")") or name


def resolve(name: str) -> str:
    """A name's numeric address. Raises HeadraceError when it has none."""
    try:
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except socket.gaierror as error:
        raise HeadraceError(f"the address {name}: {error.strerror}") from error
