"""From a plan to the head of a fleet on a Ray cluster."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from headrace.errors import InputError
from headrace.files import replace_file
from headrace.node.job import NodeJob
from headrace.planner.plan import Plan
from headrace.spec.target import RayTarget
from headrace.targets.places import address_towards, placed_job

PLACER = "headrace.targets.ray.placer"
LOOPBACK = "127.0.0.1"


def plan_job(plan: Plan, run_dir: Path, *, gateway_port: int = 0) -> NodeJob:
    """The head's job; it has the fleet's gateway and runs here, on a machine of the cluster.

    Raises InputError without Ray, for `address: auto` where no cluster is, and for a new cluster
    of more than this machine.
    """
    target = plan.fleet.target
    assert isinstance(target, RayTarget)
    if importlib.util.find_spec("ray") is None:
        raise InputError("Ray is not installed", hint="pip install 'headrace[ray]'")
    nodes = plan.chosen.layout.nodes
    if target.address is None and nodes > 1:
        raise InputError(
            f"the plan is for {nodes} nodes, but without target.address a Ray of this machine "
            "alone is started",
            hint="set target.address to host:port of a Ray cluster, or to auto",
        )
    if target.address == "auto":
        target = target.model_copy(update={"address": this_cluster()})
        plan = plan.model_copy(update={"fleet": plan.fleet.model_copy(update={"target": target})})
    replace_file(run_dir / "plan.json", plan.model_dump_json(indent=2) + "\n")
    return placed_job(plan, run_dir, PLACER, coordinator_host(target.address), gateway_port)


def this_cluster() -> str:
    """The cluster that this machine belongs to, as Ray itself finds it. Raises InputError."""
    given = os.environ.get("RAY_ADDRESS", "")
    if given and given not in ("auto", "local"):
        return given
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    try:
        return note.read_text(encoding="ascii").strip()
    except OSError:
        raise InputError(
            "target.address is auto, but this machine belongs to no Ray cluster",
            hint="start one here (`ray start`), or set target.address to host:port",
        ) from None


def coordinator_host(address: str | None) -> str:
    """Where this machine's agent takes the nodes' reports."""
    if address is None:
        return LOOPBACK
    if address.startswith("ray://"):
        raise InputError(
            f"target.address {address}: Ray's client protocol is not enough, expected host:port",
            hint="run headrace on a machine of the cluster, with the address of its head",
        )
    return address_towards(address.rpartition(":")[0].strip("[]"))
