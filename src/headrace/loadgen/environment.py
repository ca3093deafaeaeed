"""Where and how a measurement was made; no host names, user names, addresses or keys."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headrace import __version__
from headrace.loadgen.spec import BenchSpec

PRIVATE = {
    *("urls", "api_key_env", "slo", "usd_per_hour", "model", "headers", "header_envs", "body"),
    *("dataset", "tokenizer"),
}


def environment(spec: BenchSpec) -> dict[str, Any]:
    """The client's machine and software, and under `load` what was asked of it."""
    return {
        "headrace": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "cpus_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "uvloop": version("uvloop"),
        "load": _load(spec),
    }


def _load(spec: BenchSpec) -> dict[str, Any]:
    """The spec, with files by their names only and headers and fields by theirs."""
    load = spec.model_dump(mode="json", exclude=PRIVATE)
    return load | {
        "urls": len(spec.urls),
        "dataset": spec.dataset.name if spec.dataset else None,
        "tokenizer": Path(spec.tokenizer).name if spec.tokenizer else None,
        "headers": sorted([*spec.headers, *spec.header_envs]),
        "body": sorted(spec.body),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
