"""Brings a fleet onto Slurm's nodes: `python -m headrace.targets.slurm.placer RUN`.

A child of the fleet's head (`headrace.node.placer`): it submits RUN/fleet.sbatch, says how the job
does, and cancels it when it is told to end.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.files import replace_file
from headrace.node.job import Link
from headrace.targets.parts import coordinator_url, token_path
from headrace.targets.placing import Stop, run_placer
from headrace.targets.slurm.commands import JobState, cancel, job_state, submit
from headrace.targets.slurm.render import SCRIPT

LOOK_S, LONG_LOOK_S = 1.0, 5.0
"""A waiting job is asked about once a second, a running one less often: controllers are busy."""
NATURAL_S = 2.0
"""A job whose agents have ended ends by itself; it is not cancelled then."""


def place(run_dir: Path) -> None:
    """Submit the job and follow it to its end.

    Raises HeadraceError when it cannot be submitted and when it ends otherwise than completed.
    """
    url = coordinator_url(run_dir, lambda: True)
    link = Link(url=url, token_file=token_path(run_dir))
    replace_file(run_dir / "link.json", link.model_dump_json(indent=2) + "\n")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    job = submit(run_dir / SCRIPT, run_dir)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        replace_file(run_dir / "slurm.job", f"{job}\n")
        last = follow(job)
    except Stop:
        take_back(job)
        return
    except BaseException:
        cancel(job)
        raise
    how = f"Slurm job {job} ended: {last.state if last else 'forgotten by Slurm'}"
    why = f" ({last.reason})" if last and last.reason != "None" else ""
    raise HeadraceError(f"{how}{why}; its log: {run_dir}/logs/slurm.log")


def follow(job: str) -> JobState | None:
    """Say each new state of the job, until it is over."""
    said = ""
    while True:
        state = job_state(job)
        if state is None or state.is_over:
            return state
        text = describe(job, state)
        if text != said:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
            said = text
        time.sleep(LONG_LOOK_S if state.state == "RUNNING" else LOOK_S)


def describe(job: str, state: JobState) -> str:
    """One line about a job that is not over."""
    if state.state == "RUNNING":
        return f"Slurm job {job} runs on {state.nodes}; agents are starting"
    why = f" ({state.reason})" if state.reason != "None" else ""
    return f"Slurm job {job} is {state.state.lower()}{why}"


def take_back(job: str) -> None:
    """Let a job whose agents have ended come to its end; cancel it otherwise.

    What Slurm was told to cancel it ends, so that is not waited for.
    """
    deadline = time.monotonic() + NATURAL_S
    while (state := job_state(job)) is not None and not state.is_over:
        if state.state == "PENDING" or time.monotonic() > deadline:
            cancel(job)
            return
        time.sleep(0.2)


if __name__ == "__main__":
    run_placer(place)
