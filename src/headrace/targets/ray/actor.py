"""What runs inside Ray on each node: starts the node's agent and hands its logs back.

Ray imports this on the node, so Headrace must be installed where Ray's workers find it.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from headrace import __version__
from headrace.files import replace_file
from headrace.node.assignment import Assignment
from headrace.node.link import TOKEN_VARIABLE

PART_BYTES = 256 * 1024
"""Of each log at each look: the control plane of a cluster is no place for more."""
STOP_S = 5.0
NOT_INHERITED = ("RAY_", "OMP_NUM_THREADS")
"""Ray's own variables; it also sets one OpenMP thread for every CPU that an actor asks for."""


@dataclass(frozen=True)
class About:
    """Who this node is: what the placer must know before it can say what to run."""

    version: str
    address: str
    host: str
    folder: str


@dataclass(frozen=True)
class Look:
    """The agent's exit status (None while it runs), and what its logs have gained, by file name.

    `offsets` are where the next look begins.
    """

    exit_status: int | None
    logs: dict[str, bytes] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)


class NodeHost:
    """The actor of one node. The agent is its child and ends when the actor does, however."""

    def __init__(self, fleet: str, node: str) -> None:
        base = Path(tempfile.gettempdir()) / f"headrace-{getpass.getuser()}"
        base.mkdir(mode=0o700, exist_ok=True)
        if base.stat().st_uid != os.getuid():
            raise PermissionError(f"{base} belongs to another user")
        self._folder = Path(tempfile.mkdtemp(prefix=f"{fleet}-{node}-", dir=base))
        self._agent: subprocess.Popen[bytes] | None = None

    def about(self) -> About:
        """Address, versions and folder of this node."""
        import ray

        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        return About(__version__, address, platform.node(), str(self._folder))

    def start(self, assignment: str, token: str) -> None:
        """Start the agent of an `Assignment`. The token goes into its environment alone."""
        part = Assignment.model_validate_json(assignment)
        logs = part.run_dir / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        path = part.run_dir / "assignment.json"
        replace_file(path, assignment)
        agent = [sys.executable, "-m", "headrace.node.agent", "--assignment", str(path)]
        env = {name: v for name, v in os.environ.items() if not name.startswith(NOT_INHERITED)}
        with (logs / "agent.log").open("ab") as output:
            self._agent = subprocess.Popen(
                [*agent, "--parent", str(os.getpid())],
                env={**env, TOKEN_VARIABLE: token},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def look(self, offsets: dict[str, int]) -> Look:
        """Whether the agent runs, and what its logs have gained since `offsets`."""
        status = self._agent.poll() if self._agent else None
        look = Look(status)
        for log in sorted((self._folder / "logs").glob("*.log")):
            part, end = read_part(log, offsets.get(log.name, 0))
            look.offsets[log.name] = end
            if part:
                look.logs[log.name] = part
        return look

    def stop(self) -> None:
        """End an agent that has not ended by itself."""
        if self._agent and self._agent.poll() is None:
            self._agent.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._agent.wait(STOP_S)

    def forget(self) -> None:
        """Remove the node's folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def read_part(log: Path, offset: int) -> tuple[bytes, int]:
    """At most PART_BYTES after `offset`, and where that ends; from the start when it was cut."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(offset if offset <= size else 0)
        part = file.read(PART_BYTES)
        return part, file.tell()
