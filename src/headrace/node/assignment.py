"""A machine's part of a fleet, before that machine has been seen.

Ports, GPUs and the engine's program can only be looked up on the machine itself. So what travels
there is an `Assignment`; its agent makes the `NodeJob` of it:

    python -m headrace.node.agent --assignment FILE
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from headrace.errors import InputError
from headrace.node.engines import engine_process
from headrace.node.gpus import allowed_gpus, assign_gpus, visible_gpus
from headrace.node.job import GatewaySpec, Link, NodeJob, ProcessSpec, ReplicaSpec, StartSpec
from headrace.node.nvml import read_gpus
from headrace.node.ports import free_port, is_free
from headrace.node.topology import cores_of_numa, numa_of_gpus, share_cpus
from headrace.node.warm import weight_files
from headrace.planner.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Collection

START_TIMEOUT_S = {"vllm": 3600.0, "simulated": 60.0}
"""A large model on a cold disk loads for many minutes; a stuck one is seen by its user."""
DRAIN_TIMEOUT_S = 30.0
VLLM_GAP_S = 1.0
"""Imports and the first reads of the weights are spread out a little; compiling takes minutes."""


class Assignment(BaseModel):
    """What one machine shall run. No secret is in it.

    `node` names it; its replicas are r<first_replica>, r<first_replica + 1>, ... and listen on
    `host`, the address by which the others reach this machine. `run_dir` is a folder on it: its
    own, or a folder for this node alone on a shared file system. `gateway` is for a gateway on the
    node itself, where clients spread over the nodes. `gpus_per_node` of the plan's fleet are used,
    or what CUDA_VISIBLE_DEVICES lists when it is set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    plan: Plan
    node: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62})$")
    first_replica: int = Field(0, ge=0)
    replicas: int = Field(ge=1)
    run_dir: Path
    host: str = "127.0.0.1"
    gateway: GatewaySpec | None = None
    link: Link | None = None
    start_timeout_s: float | None = None
    drain_timeout_s: float = DRAIN_TIMEOUT_S
    processes: int | None = None
    """How many processes host simulated replicas; None: as few as possible. vLLM has one each."""

    @property
    def ids(self) -> list[str]:
        """The replicas' ids."""
        return [f"r{self.first_replica + number}" for number in range(self.replicas)]


def node_job(assignment: Assignment) -> NodeJob:
    """What this machine's agent runs: ports that are free here, GPUs that may be used here.

    Raises InputError for a busy gateway port, too few GPUs, a missing or wrong engine program.
    """
    gateway, kind = assignment.gateway, assignment.plan.fleet.engine.kind
    if gateway and gateway.port and not is_free(gateway.host, gateway.port):
        raise InputError(
            f"port {gateway.port} on {gateway.host} is busy: the gateway cannot listen there",
            hint="choose another --gateway-port, or leave it out to get a free one",
        )
    run_dir = assignment.run_dir.resolve()
    taken = {gateway.port} if gateway else set()
    replicas = _replicas(assignment, taken)
    processes = engine_processes(assignment.plan, run_dir, replicas, assignment.processes)
    return NodeJob(
        fleet=assignment.plan.fleet.name,
        run_dir=run_dir,
        node=assignment.node,
        processes=pinned(processes) if kind == "vllm" else processes,
        gateway=gateway,
        start_timeout_s=assignment.start_timeout_s or START_TIMEOUT_S[kind],
        drain_timeout_s=assignment.drain_timeout_s,
        start=_start(assignment.plan),
        link=assignment.link,
    )


def _start(plan: Plan) -> StartSpec:
    """Simulated replicas compete for cores only; vLLM's for cores and the disk.

    vLLM keeps what it compiles in a folder of the user (VLLM_CACHE_ROOT), so replicas share it.
    """
    if plan.fleet.engine.kind == "simulated":
        return StartSpec(at_once=max(2, len(os.sched_getaffinity(0))))
    folder = Path(plan.fleet.model)
    return StartSpec(gap_s=VLLM_GAP_S, warm=weight_files(folder) if folder.is_dir() else [])


def engine_processes(
    plan: Plan, run_dir: Path, replicas: list[ReplicaSpec], processes: int | None = None
) -> list[ProcessSpec]:
    """The engine's own processes for these replicas, at least `processes` of them where it can."""
    per_process = math.ceil(len(replicas) / processes) if processes else None
    engine = engine_process(plan.fleet.engine.kind)
    return engine.processes(plan, run_dir, replicas, per_process=per_process)


def pinned(processes: list[ProcessSpec]) -> list[ProcessSpec]:
    """The processes with the cores beside their GPUs, where NVML tells which those are."""
    cores = cores_of_numa()
    numa_of_gpu = numa_of_gpus(read_gpus(), list(cores))
    gpus = [[gpu for replica in process.replicas for gpu in replica.gpus] for process in processes]
    shares = share_cpus(gpus, numa_of_gpu, cores, sorted(os.sched_getaffinity(0)))
    return [
        process.model_copy(update={"cpus": cpus})
        for process, cpus in zip(processes, shares, strict=True)
    ]


def _replicas(assignment: Assignment, taken: Collection[int]) -> list[ReplicaSpec]:
    specs, used = [], set(taken)
    for name, gpus in zip(assignment.ids, node_gpus(assignment), strict=True):
        port = free_port(assignment.host, used)
        used.add(port)
        specs.append(ReplicaSpec(id=name, url=f"http://{assignment.host}:{port}", gpus=gpus))
    return specs


def node_gpus(assignment: Assignment) -> list[list[int]]:
    """Real GPUs are this machine's. Simulated ones are numbered from 0 within each node's share."""
    plan, count = assignment.plan, assignment.replicas
    layout = plan.chosen.layout
    if plan.fleet.engine.kind == "simulated":
        node = list(range(layout.tensor_parallel * layout.replicas_per_node))
        return assign_gpus(
            node * math.ceil(count / layout.replicas_per_node), layout.tensor_parallel, count
        )
    gpus = plan.fleet.hardware.gpus_per_node
    visible = visible_gpus(None, gpus) if _is_cpu(plan) else allowed_gpus(gpus)
    return assign_gpus(visible, layout.tensor_parallel, count)


def _is_cpu(plan: Plan) -> bool:
    from headrace.hardware.load import load_gpu

    catalog = plan.fleet.hardware.catalog
    return load_gpu(plan.gpu, Path(catalog) if catalog else None, None).kind == "cpu"
