"""From a plan to the head of a fleet that is a Slurm job."""

from __future__ import annotations

from pathlib import Path

from headrace.files import replace_file
from headrace.node.job import NodeJob
from headrace.planner.plan import Plan
from headrace.targets.places import address_towards, placed_job
from headrace.targets.slurm.commands import controller
from headrace.targets.slurm.render import SCRIPT, script

PLACER = "headrace.targets.slurm.placer"


def plan_job(plan: Plan, run_dir: Path, *, gateway_port: int = 0) -> NodeJob:
    """Write the sbatch file into the run's folder, which all nodes must see, and the head's job.

    The head has the fleet's gateway and runs here. Raises InputError where Slurm's commands are
    not, and HeadraceError when Slurm does not answer.
    """
    host = address_towards(controller())
    replace_file(run_dir / SCRIPT, script(plan))
    replace_file(run_dir / "plan.json", plan.model_dump_json(indent=2) + "\n")
    return placed_job(plan, run_dir, PLACER, host, gateway_port)
