"""A small simulated fleet on several nodes, driven as a user drives it: by the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HEADRACE = [sys.executable, "-m", "headrace.cli.main"]
MODEL = "Qwen/Qwen3.5-0.8B"


def write_fleet(folder: Path, nodes: int, target: dict[str, Any], **parts: Any) -> Path:
    """Two simulated GPUs on each node."""
    document = {
        "name": "small",
        "model": MODEL,
        "hardware": {"gpu": "B200", "nodes": nodes, "gpus_per_node": 2},
        "workload": {"input_tokens": 64, "output_tokens": 32, "concurrency": 16 * nodes},
        "engine": {"kind": "simulated"},
        "target": target,
        **parts,
    }
    path = folder / "fleet.yaml"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def headrace(*words: object, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """From a folder that knows nothing of the fleet."""
    command = [*HEADRACE, *map(str, words)]
    return subprocess.run(
        command, cwd="/", capture_output=True, text=True, timeout=timeout_s, check=False
    )


def start(*words: object) -> subprocess.Popen[str]:
    """A command that goes on; its messages go to its standard error."""
    command = [*HEADRACE, *map(str, words)]
    return subprocess.Popen(command, cwd="/", stderr=subprocess.PIPE, text=True, env=os.environ)


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def states(deployment: dict[str, Any]) -> list[str]:
    return [replica["state"] for replica in deployment["replicas"]]
