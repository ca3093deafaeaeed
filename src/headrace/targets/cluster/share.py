"""One node's part of a plan: what its agent runs, built on the node itself."""

from __future__ import annotations

from pathlib import Path

from headrace.errors import InputError
from headrace.node.job import NodeJob
from headrace.planner.plan import Plan
from headrace.targets.local.job import plan_job


def share_of(plan: Plan, index: int) -> Plan:
    """The plan as it is for one of its nodes, `index` counted from 0.

    The figures that were predicted for the whole fleet stay as they are. Raises InputError when
    the plan has no such node.
    """
    layout = plan.chosen.layout
    if not 0 <= index < layout.nodes:
        raise InputError(
            f"the plan has {layout.nodes} nodes, numbered from 0; there is no node {index}",
            hint="start as many nodes as hardware.nodes says",
        )
    replicas = layout.replicas_per_node
    part = layout.model_copy(
        update={"nodes": 1, "replicas": replicas, "gpus": replicas * layout.tensor_parallel}
    )
    hardware = plan.fleet.hardware.model_copy(update={"nodes": 1})
    return plan.model_copy(
        update={
            "fleet": plan.fleet.model_copy(update={"hardware": hardware}),
            "chosen": plan.chosen.model_copy(update={"layout": part}),
        }
    )


def node_job(plan: Plan, folder: Path, index: int, *, node: str, host: str) -> NodeJob:
    """The job of node `index`: its replicas have the numbers that the fleet gives them.

    `folder` is the node's own; `host` is the address at which other nodes reach this one, where
    the node's gateway listens (or its replicas, without gateways). Ports are picked here, so call
    it on the node that runs the job.
    """
    return plan_job(
        share_of(plan, index),
        folder,
        host=host,
        node=node,
        first_replica=index * plan.chosen.layout.replicas_per_node,
    )


def node_folder(run_dir: Path, index: int) -> Path:
    """Where a node's job, state and logs lie in the run's folder."""
    return run_dir / "nodes" / str(index)
