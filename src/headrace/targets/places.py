"""What targets that place agents on several machines share: names, folders, the way back."""

from __future__ import annotations

import ipaddress
import socket
import sys
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.node.job import NodeJob, PlacerSpec
from headrace.planner.plan import Plan
from headrace.targets.parts import head_job


def node_names(plan: Plan) -> list[str]:
    """`node-0`, `node-1`, ...: which machine is which is for the placing system to choose."""
    return [f"node-{number}" for number in range(plan.chosen.layout.nodes)]


def node_folder(run_dir: Path, node: str) -> Path:
    """Where a node's assignment, state and logs lie in a run's folder."""
    return run_dir / "nodes" / node


def placed_job(
    plan: Plan, run_dir: Path, placer: str, coordinator_host: str, gateway_port: int
) -> NodeJob:
    """The head of a fleet whose agents are placed by `python -m PLACER RUN`."""
    job = head_job(
        plan,
        run_dir,
        node_names(plan),
        coordinator_host=coordinator_host,
        gateway_port=gateway_port,
    )
    assert job.coordinator is not None
    spec = PlacerSpec(
        argv=[sys.executable, "-u", "-m", placer, str(job.run_dir)],
        log=job.run_dir / "logs" / "placer.log",
    )
    coordinator = job.coordinator.model_copy(update={"placer": spec})
    return job.model_copy(update={"coordinator": coordinator})


def address_towards(host: str, port: int = 9) -> str:
    """The address at which another machine can call this one back: that of the way there.

    Nothing is sent. Raises HeadraceError when there is no way.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise HeadraceError(f"there is no way to {host}: {error.strerror}") from error


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's alone."""
    return ipaddress.ip_address(host).is_loopback
