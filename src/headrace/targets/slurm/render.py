"""The sbatch file of a planned fleet."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator

from headrace.planner.plan import Plan
from headrace.spec.target import SlurmTarget
from headrace.targets.render import Rendered

SCRIPT = "fleet.sbatch"

HEAD = """\
#!/bin/bash
# Written by `headrace render`. One agent per node starts that node's replicas and its gateway.
#   start   sbatch {script}
#   state   RUN/nodes/*/deployment.json, where RUN is run-JOBID in the folder of `sbatch`
#   drain   scancel --signal=URG JOBID   (requests in flight finish; by any other way they break)
"""
BODY = """
set -euo pipefail
RUN=${{1:-$SLURM_SUBMIT_DIR/run-$SLURM_JOB_ID}}
mkdir -p "$RUN/nodes" "$RUN/logs"
[ -e "$RUN/plan.json" ] || cp "$SLURM_SUBMIT_DIR/plan.json" "$RUN/plan.json"
{setup}
# Slurm must not bind an agent to the one CPU of its task: it hands out the node's CPUs itself.
# One agent that ends badly, or a node that fails, must not end the others.
exec srun --kill-on-bad-exit=0 --no-kill --wait=0 --cpu-bind=none{srun_options} \\
    {python} -m headrace.targets.slurm.member "$RUN"
"""


def render(plan: Plan) -> Rendered:
    """The sbatch file, and the plan that the nodes read. The folder must be seen by all nodes."""
    files = {SCRIPT: script(plan), "plan.json": plan.model_dump_json(indent=2) + "\n"}
    next_step = f"cd {{folder}} && sbatch {SCRIPT}   (on a file system that all nodes see)"
    return Rendered(files, next_step)


def script(plan: Plan) -> str:
    """The sbatch file's text. Its one argument, when given, is the run's folder."""
    target = plan.fleet.target
    assert isinstance(target, SlurmTarget)
    return (
        HEAD.format(script=SCRIPT)
        + "\n".join(_directives(plan, target))
        + BODY.format(
            setup=f"{target.setup.strip()}\n" if target.setup else "",
            srun_options="".join(f" {option(*each)}" for each in target.srun_options.items()),
            python=shlex.quote(target.python or sys.executable),
        )
    )


def option(name: str, value: str) -> str:
    """A long option as a shell word; one with an empty value is a switch."""
    name = name.lstrip("-").replace("_", "-")
    return shlex.quote(f"--{name}={value}" if value else f"--{name}")


def _directives(plan: Plan, target: SlurmTarget) -> Iterator[str]:
    """The `#SBATCH` lines. What the user wrote under `options` comes last, so that it wins.

    The signal before the time limit goes to the steps (no `B:`): a batch script that passed it on
    would have its srun kill the agents. Slurm gives it to every process of a step, and a TERM ends
    gateways and engines at once; URG is ignored by all that do not ask for it, as agents do.
    """
    layout = plan.chosen.layout
    options = {
        "job-name": f"headrace-{plan.fleet.name}",
        "nodes": str(layout.nodes),
        "ntasks-per-node": "1",
        **_gpus(plan),
        **({"exclusive": "", "mem": "0"} if target.exclusive else {}),
        **_chosen(target),
        "signal": f"URG@{target.drain_s}",
        "no-kill": "",
        "no-requeue": "",
        "output": "slurm-%j.log",
        **{name.lstrip("-").replace("_", "-"): value for name, value in target.options.items()},
    }
    yield from (f"#SBATCH {option(name, value)}" for name, value in options.items())


def _gpus(plan: Plan) -> dict[str, str]:
    """Simulated GPUs need none."""
    layout = plan.chosen.layout
    per_node = layout.tensor_parallel * layout.replicas_per_node
    return {} if plan.fleet.engine.kind == "simulated" else {"gres": f"gpu:{per_node}"}


def _chosen(target: SlurmTarget) -> dict[str, str]:
    named = {"partition": target.partition, "account": target.account, "time": target.time_limit}
    return {name: value for name, value in named.items() if value is not None}
