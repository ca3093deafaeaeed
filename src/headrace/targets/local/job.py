"""From a plan to what this machine's agent runs when it runs the whole fleet."""

from __future__ import annotations

from pathlib import Path

from headrace.errors import InputError
from headrace.gateway.admission import gateway_spec
from headrace.node.assignment import DRAIN_TIMEOUT_S, Assignment, node_job
from headrace.node.job import NodeJob
from headrace.planner.plan import Plan

HOST = "127.0.0.1"
NODE = "local"


def plan_job(
    plan: Plan,
    run_dir: Path,
    *,
    host: str | None = None,
    gateway_port: int = 0,
    node: str = NODE,
    first_replica: int = 0,
    start_timeout_s: float | None = None,
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
    processes: int | None = None,
) -> NodeJob:
    """The job of a fleet that runs on this machine, whole.

    `host` is where clients connect (None: as the fleet file has it): the gateway's address, or the
    replicas' when there is no gateway. `gateway_port` 0 picks a free one; replicas are numbered
    from `first_replica`. `processes`: how many host simulated replicas, which are restarted and
    updated together. Raises InputError for a busy port, for vLLM on more than one node, and for
    more GPUs than CUDA_VISIBLE_DEVICES lists.
    """
    engine = plan.fleet.engine
    if engine.kind == "vllm" and plan.fleet.hardware.nodes > 1:
        raise InputError(
            f"the local target runs vLLM on one node; the fleet has {plan.fleet.hardware.nodes}",
            hint="set hardware.nodes to 1, or engine.kind to simulated, or another target",
        )
    gateway = gateway_spec(plan, gateway_port, host)
    return node_job(
        Assignment(
            plan=plan,
            node=node,
            first_replica=first_replica,
            replicas=plan.chosen.layout.replicas,
            run_dir=run_dir,
            host=HOST if gateway else host or plan.fleet.gateway.host,
            gateway=gateway,
            start_timeout_s=start_timeout_s,
            drain_timeout_s=drain_timeout_s,
            processes=processes,
        )
    )
