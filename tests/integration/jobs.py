"""Jobs of tiny servers, and ways to see what a fleet left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from headrace.node.identity import is_running, start_ticks
from headrace.node.job import (
    GatewayPolicy,
    GatewaySpec,
    HealthSpec,
    NodeJob,
    ProcessSpec,
    ReplicaSpec,
    RestartSpec,
)
from headrace.node.ports import free_port

SERVER = Path(__file__).with_name("tiny_server.py")


def tiny_job(
    run_dir: Path,
    replicas: int = 2,
    *options: str,
    name: str = "tiny",
    policy: GatewayPolicy = "least-request",
    gateway_port: int = 0,
    start_timeout_s: float = 30.0,
    drain_timeout_s: float = 10.0,
    first_only: tuple[str, ...] = (),
    restart: RestartSpec | None = None,
    health: HealthSpec | None = None,
    gateway: GatewaySpec | None = None,
) -> NodeJob:
    """A process per replica; `options` go to every server, `first_only` to the first."""
    processes = []
    for number in range(replicas):
        port = free_port("127.0.0.1")
        own = first_only if number == 0 else ()
        spec = ReplicaSpec(id=f"r{number}", url=f"http://127.0.0.1:{port}", gpus=[number])
        processes.append(
            ProcessSpec(
                name=f"r{number}",
                engine="simulated",
                argv=[sys.executable, str(SERVER), "--port", str(port), *options, *own],
                env={},
                log=run_dir / "logs" / f"r{number}.log",
                replicas=[spec],
            )
        )
    if gateway is None and policy != "none":
        gateway = GatewaySpec(policy=policy, port=gateway_port)
    return NodeJob(
        fleet=name,
        run_dir=run_dir,
        node="local",
        processes=processes,
        gateway=gateway,
        start_timeout_s=start_timeout_s,
        drain_timeout_s=drain_timeout_s,
        restart=restart or RestartSpec(),
        health=health or HealthSpec(),
    )


def processes_of(run_dir: Path) -> list[str]:
    """Command lines of live processes that belong to a run: its agent, keepers, servers, Envoy."""
    found = []
    for pid in pids_of(run_dir):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        found.append(command.decode())
    return [command for command in found if command]


def pids_of(run_dir: Path) -> list[int]:
    """Known by the run's folder in their environment, which all of them inherit."""
    wanted = f"HEADRACE_TEST_RUN={run_dir}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def wait_for(condition: Callable[[], object], timeout_s: float = 60.0) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def killed(pid: int | None) -> float:
    """End it, and say when it was dead: what began before may have been answered by it."""
    assert pid is not None
    ticks = start_ticks(pid)
    os.kill(pid, signal.SIGKILL)
    while is_running(pid, ticks):
        time.sleep(0.0005)
    return time.monotonic()
