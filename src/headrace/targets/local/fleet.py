"""A fleet on this machine: start its agent, wait until it serves, stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from headrace.errors import HeadraceError, InputError
from headrace.files import replace_file
from headrace.node.identity import start_ticks
from headrace.node.job import NodeJob
from headrace.node.log import tail
from headrace.targets.deployment import Deployment
from headrace.targets.local import registry
from headrace.targets.local.registry import Entry

OnChange = Callable[[Deployment], None]

POLL_S = 0.1
STOP_MARGIN_S = 20.0
"""What an agent may take to stop beyond the drain time that the job allows."""
ORPHANS_S = 10.0
"""What the keepers may take to end a fleet whose agent was killed."""


@dataclass
class RunningFleet:
    """A fleet whose agent was started. As a context manager it is stopped at the end."""

    entry: Entry
    drain_timeout_s: float
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    """The agent, when this process started it."""

    @property
    def agent_log(self) -> Path:
        """What the agent itself had to say."""
        return agent_log(self.entry.run_dir)

    def alive(self) -> bool:
        """Whether the agent runs."""
        if self.process is not None:
            return self.process.poll() is None
        return self.entry.alive

    def deployment(self) -> Deployment | None:
        """The fleet's state as the agent last wrote it; None before its first word."""
        return read_deployment(self.entry.run_dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        stop(self)


def agent_log(run_dir: Path) -> Path:
    """Where an agent's own output goes."""
    return run_dir / "logs" / "agent.log"


def read_deployment(run_dir: Path) -> Deployment | None:
    """`deployment.json` of a run; None when there is none."""
    try:
        return Deployment.model_validate_json((run_dir / "deployment.json").read_bytes())
    except FileNotFoundError:
        return None


def start(job: NodeJob, *, attached: bool) -> RunningFleet:
    """Start the agent of a job and register it; returns at once.

    attached: the agent ends when this process does, however that ends (call from the main
    thread). Otherwise it lives on, and an InputError refuses a second fleet of its name.
    """
    with registry.locked():
        name = _name(job, attached)
        process = _start_agent(job, attached)
        try:
            entry = _entry(name or f"{job.fleet}-{process.pid}", job.run_dir, process.pid)
            registry.write(entry)
        except BaseException:
            process.terminate()
            raise
    return RunningFleet(entry, job.drain_timeout_s, process)


def attach(entry: Entry) -> RunningFleet:
    """A fleet that another process started."""
    try:
        text = job_path(entry.run_dir).read_bytes()
        drain_timeout_s = NodeJob.model_validate_json(text).drain_timeout_s
    except (OSError, ValueError):
        drain_timeout_s = 0.0
    return RunningFleet(entry, drain_timeout_s)


def wait_ready(fleet: RunningFleet, *, on_change: OnChange | None = None) -> Deployment:
    """Wait until every replica and the gateway serve; returns the fleet's state.

    `on_change` sees every new state. When any part fails, or anything is raised meanwhile (Ctrl-C
    too), the fleet is stopped first; HeadraceError then gives the reason and where the log is.
    """
    try:
        return _wait_ready(fleet, on_change or _ignore)
    except BaseException:
        stop(fleet)
        raise


def stop(fleet: RunningFleet, *, on_change: OnChange | None = None) -> Deployment | None:
    """Drain and stop a fleet; returns its last state when nothing of it is left.

    An agent that does not end within the job's drain time and a margin is killed, and the keepers
    end the rest. A second Ctrl-C while waiting makes the agent hurry.
    """
    show = on_change or _ignore
    _signal(fleet, signal.SIGTERM)
    deadline = time.monotonic() + fleet.drain_timeout_s + STOP_MARGIN_S
    seen: Deployment | None = None
    while fleet.alive():
        try:
            seen = _show_new(fleet, seen, show)
            if time.monotonic() > deadline:
                _signal(fleet, signal.SIGKILL)
            time.sleep(POLL_S)
        except KeyboardInterrupt:
            _signal(fleet, signal.SIGTERM)
    return settle(fleet.entry)


def settle(entry: Entry) -> Deployment | None:
    """Forget a fleet whose agent has ended; returns its last state, set right.

    An agent that was killed could not write its end: what it left as running is marked failed.
    """
    last = read_deployment(entry.run_dir)
    if last is not None and _unfinished(last):
        _wait_for_orphans(last)
        last = _marked_dead(last)
        replace_file(entry.run_dir / "deployment.json", last.model_dump_json(indent=2) + "\n")
    registry.remove(entry)
    return last


def job_path(run_dir: Path) -> Path:
    """What the agent was asked to run."""
    return run_dir / "job.json"


def _entry(name: str, run_dir: Path, pid: int) -> Entry:
    return Entry(name=name, run_dir=run_dir, agent_pid=pid, agent_start_ticks=start_ticks(pid))


def _name(job: NodeJob, attached: bool) -> str | None:
    """The fleet's name; None when a run beside a fleet of that name must take another."""
    same = [entry for entry in registry.running() if entry.name == job.fleet]
    if same and not attached:
        raise InputError(
            f"fleet {job.fleet!r} is running already (in {same[0].run_dir})",
            hint=f"stop it with: headrace down {job.fleet}",
        )
    return None if same else job.fleet


def _start_agent(job: NodeJob, attached: bool) -> subprocess.Popen[bytes]:
    """Own session: a Ctrl-C in the terminal reaches the caller, who then stops the fleet."""
    log = agent_log(job.run_dir)
    log.parent.mkdir(parents=True, exist_ok=True)
    (job.run_dir / "deployment.json").unlink(missing_ok=True)
    replace_file(job_path(job.run_dir), job.model_dump_json(indent=2) + "\n")
    parent = ["--parent", str(os.getpid())] if attached else []
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "headrace.node.agent", str(job_path(job.run_dir)), *parent],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _wait_ready(fleet: RunningFleet, on_change: OnChange) -> Deployment:
    seen: Deployment | None = None
    while True:
        alive = fleet.alive()
        seen = _show_new(fleet, seen, on_change)
        if seen is not None:
            _raise_if_failed(seen)
            if seen.serves:
                return seen
        if not alive:
            raise HeadraceError(
                f"the agent of fleet {fleet.entry.name!r} ended: {_last_words(fleet)}",
                hint=f"its log: {fleet.agent_log}",
            )
        time.sleep(POLL_S)


def _show_new(
    fleet: RunningFleet, seen: Deployment | None, on_change: OnChange
) -> Deployment | None:
    now = fleet.deployment()
    if now is not None and now != seen:
        on_change(now)
    return now


def _raise_if_failed(deployment: Deployment) -> None:
    for replica in deployment.replicas:
        if replica.state == "failed":
            raise HeadraceError(
                f"replica {replica.id} failed: {replica.detail}",
                hint=f"its log: {replica.log or deployment.run_dir + '/logs'}",
            )
    for gateway in deployment.entrances:
        if gateway.state == "failed":
            raise HeadraceError(
                gateway.detail or "the gateway failed", hint=f"its log: {gateway.log}"
            )


def _signal(fleet: RunningFleet, number: signal.Signals) -> None:
    if fleet.alive():
        try:
            os.kill(fleet.entry.agent_pid, number)
        except ProcessLookupError:
            return


def _last_words(fleet: RunningFleet) -> str:
    lines = [line for line in tail(fleet.agent_log, 20) if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _unfinished(last: Deployment) -> bool:
    gateway = [last.gateway.state] if last.gateway else []
    states = [replica.state for replica in last.replicas] + gateway
    return any(state not in ("stopped", "failed") for state in states)


def _wait_for_orphans(last: Deployment) -> None:
    """The keepers need a moment to end what a killed agent left."""
    pids = [replica.pid for replica in last.replicas]
    if last.gateway:
        pids += [last.gateway.pid, last.gateway.standby.pid if last.gateway.standby else None]
    ticks = {pid: start_ticks(pid) for pid in pids if pid}
    deadline = time.monotonic() + ORPHANS_S
    while time.monotonic() < deadline:
        if not any(begun is not None and start_ticks(p) == begun for p, begun in ticks.items()):
            return
        time.sleep(POLL_S)


def _marked_dead(last: Deployment) -> Deployment:
    change = {"state": "failed", "pid": None, "detail": "its agent was killed"}
    replicas = [
        r if r.state in ("stopped", "failed") else r.model_copy(update=change)
        for r in last.replicas
    ]
    gateway = last.gateway and last.gateway.model_copy(update={**change, "standby": None})
    return last.model_copy(update={"replicas": replicas, "gateway": gateway})


def _ignore(_: Deployment) -> None:
    return None
