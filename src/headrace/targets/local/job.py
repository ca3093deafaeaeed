"""From a plan to what this machine's agent runs: ports, GPUs, processes, gateway."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.errors import InputError
from headrace.node.engines import engine_process
from headrace.node.job import GatewaySpec, NodeJob, ProcessSpec, ReplicaSpec
from headrace.node.ports import free_port, is_free
from headrace.planner.plan import Plan

HOST = "127.0.0.1"
NODE = "local"
START_TIMEOUT_S = {"vllm": 3600.0, "simulated": 60.0}
"""A large model on a cold disk loads for many minutes; a stuck one is seen by its user."""
DRAIN_TIMEOUT_S = 30.0


def plan_job(
    plan: Plan,
    run_dir: Path,
    *,
    host: str = HOST,
    gateway_port: int = 0,
    node: str = NODE,
    first_replica: int = 0,
    start_timeout_s: float | None = None,
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
) -> NodeJob:
    """The job of a fleet that runs on this machine, whole.

    `host` is where clients connect: the gateway's address, or the replicas' when there is no
    gateway. `gateway_port` 0 picks a free one; replicas are numbered from `first_replica`. Raises
    InputError for a busy port, for vLLM on more than one node, and for more GPUs than
    CUDA_VISIBLE_DEVICES lists.
    """
    engine = plan.fleet.engine
    if engine.kind == "vllm" and plan.fleet.hardware.nodes > 1:
        raise InputError(
            f"the local target runs vLLM on one node; the fleet has {plan.fleet.hardware.nodes}",
            hint="set hardware.nodes to 1, or engine.kind to simulated, or another target",
        )
    gateway = _gateway(plan, host, gateway_port)
    replicas = _replicas(plan, HOST if gateway else host, {gateway_port}, first_replica)
    return NodeJob(
        fleet=plan.fleet.name,
        run_dir=run_dir.resolve(),
        node=node,
        processes=_processes(plan, run_dir.resolve(), replicas),
        gateway=gateway,
        start_timeout_s=start_timeout_s or START_TIMEOUT_S[engine.kind],
        drain_timeout_s=drain_timeout_s,
    )


def assign_gpus(visible: list[int], tensor_parallel: int, replicas: int) -> list[list[int]]:
    """`tensor_parallel` GPUs for each replica, in order. Raises InputError when they run out."""
    needed = tensor_parallel * replicas
    if needed > len(visible):
        raise InputError(
            f"the plan needs {needed} GPUs, but only {len(visible)} may be used",
            hint="check CUDA_VISIBLE_DEVICES and hardware.gpus_per_node",
        )
    first = range(0, needed, tensor_parallel)
    return [visible[start : start + tensor_parallel] for start in first]


def visible_gpus(setting: str | None, gpus: int) -> list[int]:
    """The GPUs that CUDA_VISIBLE_DEVICES allows; the first `gpus` when it is not set."""
    if setting is None:
        return list(range(gpus))
    names = [name.strip() for name in setting.split(",") if name.strip()]
    if not all(name.isdigit() for name in names):
        raise InputError(
            f"CUDA_VISIBLE_DEVICES is {setting!r}; expected GPU numbers, as in 0,1,2",
            hint="set it to numbers, as nvidia-smi lists them",
        )
    return [int(name) for name in names]


def _replicas(plan: Plan, host: str, taken: set[int], first: int) -> list[ReplicaSpec]:
    specs = []
    for number, gpus in enumerate(_gpus(plan), first):
        port = free_port(host, taken)
        taken.add(port)
        specs.append(ReplicaSpec(id=f"r{number}", url=f"http://{host}:{port}", gpus=gpus))
    return specs


def _gpus(plan: Plan) -> list[list[int]]:
    """Real GPUs are this machine's; simulated ones are numbered within their node."""
    layout, hardware = plan.chosen.layout, plan.fleet.hardware
    if plan.fleet.engine.kind == "simulated":
        node = list(range(layout.tensor_parallel * layout.replicas_per_node))
        return assign_gpus(node * layout.nodes, layout.tensor_parallel, layout.replicas)
    setting = None if _is_cpu(plan) else os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = visible_gpus(setting, hardware.gpus_per_node)
    return assign_gpus(visible, layout.tensor_parallel, layout.replicas)


def _is_cpu(plan: Plan) -> bool:
    from headrace.hardware.load import load_gpu

    catalog = plan.fleet.hardware.catalog
    return load_gpu(plan.gpu, Path(catalog) if catalog else None, None).kind == "cpu"


def _processes(plan: Plan, run_dir: Path, replicas: list[ReplicaSpec]) -> list[ProcessSpec]:
    return engine_process(plan.fleet.engine.kind).processes(plan, run_dir, replicas)


def _gateway(plan: Plan, host: str, port: int) -> GatewaySpec | None:
    policy = plan.fleet.gateway.policy
    if policy == "none":
        return None
    if port and not is_free(host, port):
        raise InputError(
            f"port {port} on {host} is busy: the gateway cannot listen there",
            hint="choose another --gateway-port, or leave it out to get a free one",
        )
    return GatewaySpec(policy=policy, host=host, port=port)
