"""Each engine kind's own part: how its processes are started, what its log and its end mean."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

from headrace.node.job import EngineKind, ProcessSpec, ReplicaSpec

if TYPE_CHECKING:
    from headrace.planner.plan import Plan


class EngineProcess(Protocol):
    """What `headrace.engines.<kind>.process` offers."""

    def processes(
        self,
        plan: Plan,
        run_dir: Path,
        replicas: list[ReplicaSpec],
        *,
        per_process: int | None = None,
    ) -> list[ProcessSpec]:
        """The processes that serve these replicas: at most `per_process` each, where it can."""

    def moved(self, spec: ProcessSpec, replicas: list[ReplicaSpec]) -> ProcessSpec:
        """The same process on the ports that `replicas` now have."""

    def phase(self, line: str) -> str | None:
        """What the engine is doing, when this line of its log says so."""

    def death_reason(self, exit_code: int, log_tail: str) -> str:
        """Why it ended, in words."""


def engine_process(kind: EngineKind) -> EngineProcess:
    """Import an engine's module; only the kind that is asked for."""
    return cast(EngineProcess, importlib.import_module(f"headrace.engines.{kind}.process"))


def with_ports(spec: ProcessSpec, replicas: list[ReplicaSpec]) -> ProcessSpec:
    """A process whose ports stand in its command, each after `--port`, on those of `replicas`."""
    ports = {
        str(urlsplit(old.url).port): str(urlsplit(new.url).port)
        for old, new in zip(spec.replicas, replicas, strict=True)
    }
    argv = [
        ports.get(word, word) if before == "--port" else word
        for before, word in zip(["", *spec.argv], spec.argv, strict=False)
    ]
    return spec.model_copy(update={"argv": argv, "replicas": replicas})
