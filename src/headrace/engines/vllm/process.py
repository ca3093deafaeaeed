"""From a plan to the vLLM processes of one machine."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headrace.engines.vllm import flags
from headrace.engines.vllm.args import SHUTDOWN_S, command
from headrace.engines.vllm.executable import check_executable, find_executable
from headrace.engines.vllm.log import death_reason, phase
from headrace.node.engines import with_ports as moved
from headrace.node.job import ProcessSpec, ReplicaSpec
from headrace.planner.plan import Plan

__all__ = ["check_executable", "death_reason", "moved", "phase", "processes"]

GIB = 2**30
READY_TIMEOUT_S = 3600
"""vLLM gives its engine ten minutes to load; large models on cold disks need more."""
CACHE_MARGIN = 4.0
"""Pages of hybrid models are larger than a short sequence needs."""


def processes(
    plan: Plan,
    run_dir: Path,
    replicas: list[ReplicaSpec],
    *,
    per_process: int | None = None,  # noqa: ARG001
) -> list[ProcessSpec]:
    """One process per replica, whatever is asked for.

    Raises InputError when the fleet's executable is missing or is another version than planned.
    """
    engine = plan.fleet.engine
    check_executable(engine.executable, expected=engine.version)
    executable = str(find_executable(engine.executable))
    on_cpu = _is_cpu(plan)
    shares = _cpu_shares(sorted(os.sched_getaffinity(0)), len(replicas))
    return [
        ProcessSpec(
            name=replica.id,
            engine="vllm",
            argv=argv(plan, replica, executable),
            env=_common_env(plan)
            | (_cpu_env(plan, shares[number]) if on_cpu else _gpu_env(replica))
            | engine.env,
            log=run_dir / "logs" / f"{replica.id}.log",
            replicas=[replica],
        )
        for number, replica in enumerate(replicas)
    ]


def argv(plan: Plan, replica: ReplicaSpec, executable: str) -> list[str]:
    """The command of one replica: what the plan says, and what Headrace must know to run it."""
    address = urlsplit(replica.url)
    version = plan.fleet.engine.version
    own: dict[str, Any] = {
        "host": address.hostname,
        "port": address.port,
        "served_model_name": plan.model,
    }
    usual = {"shutdown_timeout": SHUTDOWN_S, "disable_uvicorn_access_log": True}
    has = flags.options(version)
    usual = {name: value for name, value in usual.items() if name in has}
    args = own | usual | plan.chosen.engine_args
    return command(model_path(plan.fleet.model), args, version, executable)


def model_path(model: str) -> str:
    """A hub id as it is; a folder (or a config.json in it) as an absolute path."""
    path = Path(model).expanduser()
    if path.is_file() and path.name == "config.json":
        path = path.parent
    return str(path.absolute()) if path.is_dir() else model


def _is_cpu(plan: Plan) -> bool:
    from headrace.hardware.load import load_gpu

    catalog = plan.fleet.hardware.catalog
    return load_gpu(plan.gpu, Path(catalog) if catalog else None).kind == "cpu"


def _common_env(plan: Plan) -> dict[str, str]:
    env = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(READY_TIMEOUT_S),
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
    }
    if Path(model_path(plan.fleet.model)).is_dir():
        env["HF_HUB_OFFLINE"] = "1"
    return env


def _gpu_env(replica: ReplicaSpec) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, replica.gpus))}


def _cpu_env(plan: Plan, cores: str) -> dict[str, str]:
    """Room for the planned sequences, cores of its own, and no GPU that may be there."""
    chosen, memory = plan.chosen, plan.chosen.memory_bytes
    tokens = plan.fleet.workload.longest_tokens
    needed = chosen.max_running * (tokens * memory.kv_per_token + memory.state_per_sequence)
    gib = max(1, math.ceil(CACHE_MARGIN * min(needed, memory.free / CACHE_MARGIN) / GIB))
    return {
        "CUDA_VISIBLE_DEVICES": "",
        "VLLM_CPU_KVCACHE_SPACE": str(gib),
        "VLLM_CPU_OMP_THREADS_BIND": cores,
    }


def _cpu_shares(cores: list[int], replicas: int) -> list[str]:
    """Cores for each replica's threads, as vLLM writes them.

    One replica: `auto`, which leaves a core to the API server, the gateway and the client.
    Several: equal shares of all cores; not bound where there are fewer cores than replicas.
    """
    if replicas == 1:
        return ["auto"]
    each = len(cores) // replicas
    if each == 0:
        return ["nobind"] * replicas
    starts = range(0, each * replicas, each)
    return [",".join(str(core) for core in cores[start : start + each]) for start in starts]
