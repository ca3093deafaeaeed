"""Which GPUs of a machine each replica gets, and how they are."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import asdict

from headrace.errors import InputError
from headrace.node.board import Board
from headrace.node.nvml import Gpu, read_gpus
from headrace.targets.deployment import GpuState

GPU_PERIOD_S = 5.0


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


def allowed_gpus(gpus: int) -> list[int]:
    """What the environment of this process allows: Slurm and Ray say so by CUDA_VISIBLE_DEVICES."""
    return visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), gpus)


async def watch_gpus(node: str, board: Board) -> None:
    """Put the state of the machine's GPUs on the board, until cancelled; nothing without NVML."""
    while gpus := await asyncio.to_thread(read_gpus):
        board.put_gpus(node, [_state(node, gpu) for gpu in gpus])
        await asyncio.sleep(GPU_PERIOD_S)


def _state(node: str, gpu: Gpu) -> GpuState:
    fields = {name: value for name, value in asdict(gpu).items() if name != "numa_node"}
    return GpuState(node=node, read_s=round(time.monotonic(), 3), **fields)
