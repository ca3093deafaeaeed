"""The machine of a sitting: GPUs, driver, software. No host names, no addresses, no serials."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from typing import Any

from headrace import __version__
from headrace.engines.vllm.executable import check_executable
from headrace.errors import InputError

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
        "cpus": os.cpu_count(),
        "gpus": _lines(["nvidia-smi", f"--query-gpu={GPU}", "--format=csv"]),
    }


def _lines(command: list[str]) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.strip().splitlines()
