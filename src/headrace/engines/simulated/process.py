"""How targets start the simulated engine, and what its log and its end mean."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from headrace.engines.simulated.job import SimulatedJob, load_job
from headrace.files import replace_file
from headrace.models.load import load_model
from headrace.node.engines import with_ports
from headrace.node.job import ProcessSpec, ReplicaSpec
from headrace.planner.plan import Plan

REPLICAS_PER_PROCESS = 64
SHUTDOWN_TIMEOUT_S = 25
"""Shorter than the node agent waits before it kills."""
LINE = re.compile(r"INFO .* simulated engine: (.+)")


def processes(
    plan: Plan,
    run_dir: Path,
    replicas: list[ReplicaSpec],
    *,
    python: str = sys.executable,
    per_process: int | None = None,
) -> list[ProcessSpec]:
    """Write the job files into `run_dir`; one process for every 64 replicas, or `per_process`.

    Raises InputError when the model's facts cannot be read.
    """
    size = per_process or REPLICAS_PER_PROCESS
    groups = [replicas[i : i + size] for i in range(0, len(replicas), size)]
    return [_process(plan, run_dir, group, n, python) for n, group in enumerate(groups)]


def moved(spec: ProcessSpec, replicas: list[ReplicaSpec]) -> ProcessSpec:
    """The same process on other ports: they stand in its job file."""
    if "--job" not in spec.argv:
        return with_ports(spec, replicas)
    job_file = Path(spec.argv[spec.argv.index("--job") + 1])
    ports = [urlsplit(replica.url).port or 80 for replica in replicas]
    job = load_job(job_file).model_copy(update={"ports": ports})
    replace_file(job_file, job.model_dump_json(indent=2) + "\n")
    return spec.model_copy(update={"replicas": replicas})


def phase(line: str) -> str | None:
    """What the engine says it is doing; every line of its log that is not an error says so."""
    match = LINE.match(line)
    return f"simulated: {match[1]}" if match else None


def death_reason(exit_code: int | None, log_tail: str) -> str:
    """Why the process ended, from its last words."""
    lines = [line.strip() for line in log_tail.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1].removeprefix("error: ")
    if exit_code == 0:
        return "the simulated engine was told to stop"
    if exit_code is not None and exit_code < 0:
        return f"the simulated engine was ended by {_signal_name(-exit_code)}"
    last = f": {lines[-1]}" if lines else ""
    return f"the simulated engine ended with exit status {exit_code}{last}"


def _process(
    plan: Plan, run_dir: Path, replicas: list[ReplicaSpec], number: int, python: str
) -> ProcessSpec:
    name = "simulated" if number == 0 else f"simulated-{number}"
    job_file = run_dir / f"{name}.json"
    run_dir.mkdir(parents=True, exist_ok=True)
    replace_file(job_file, _job(plan, replicas, number).model_dump_json(indent=2) + "\n")
    module = "headrace.engines.simulated"
    argv = [python, "-m", module, "--job", str(job_file)]
    return ProcessSpec(
        name=name,
        engine="simulated",
        argv=[*argv, "--shutdown-timeout", str(SHUTDOWN_TIMEOUT_S)],
        env={},
        log=run_dir / "logs" / f"{name}.log",
        replicas=replicas,
    )


def _job(plan: Plan, replicas: list[ReplicaSpec], number: int) -> SimulatedJob:
    addresses = [urlsplit(replica.url) for replica in replicas]
    scheduler = plan.simulation["scheduler"]
    return SimulatedJob(
        model=plan.model,
        host=addresses[0].hostname or "127.0.0.1",
        ports=[address.port or 80 for address in addresses],
        replica=plan.simulation,
        max_model_len=scheduler["max_model_len"],
        vocab_size=load_model(plan.fleet.model).vocab_size,
        seed=number,
        gpu=plan.gpu,
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
