"""The machine of a sitting: GPUs, driver, software. No host names, no addresses, no serials."""

from __future__ import annotations

import os
import platform
import subprocess
import timeit
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace import __version__
from headrace.engines.vllm.executable import check_executable
from headrace.errors import InputError
from headrace.node.topology import cores_of_numa

GPU = "name,driver_version,memory.total,power.limit,clocks.max.sm,clocks.max.mem"


def machine(executable: str) -> dict[str, Any]:
    """What a record of a measurement must say about where it was made."""
    try:
        vllm = check_executable(executable)
    except InputError as error:
        vllm = str(error)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "headrace": __version__,
        "vllm": vllm,
        "python": platform.python_version(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "cores_of_numa": {f"{node}": len(cores) for node, cores in cores_of_numa().items()},
        "python_loop_ms": _python_loop_ms(),
        "gpus": _lines(["nvidia-smi", f"--query-gpu={GPU}", "--format=csv"]),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _python_loop_ms() -> float:
    """A fixed loop on one core, the best of five: kernels outside of CUDA graphs are launched by
    Python, so that `hardware.host_time` of two machines should differ as this does."""
    seconds = timeit.repeat(
        "for i in range(100_000): d[i & 255] = f(i)",
        "d = {}\ndef f(i, *, scale=3): return (i * scale, i)",
        number=1,
        repeat=5,
    )
    return round(min(seconds) * 1e3, 3)


def _lines(command: list[str]) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.strip().splitlines()
