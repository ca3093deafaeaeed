"""One started fleet that is measured under several loads, each of which leaves a run's folder.

Starting an engine takes minutes and a load seconds, so a started engine is used for all that is
wanted of it. Every load has a plan of its own: the same flags, the prediction for that load.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from headrace.files import replace_file
from headrace.loadgen.progress import OnProgress, to_all
from headrace.loadgen.run import run_bench
from headrace.loadgen.summary import Summary
from headrace.planner.plan import Plan
from headrace.proof.compare import bench_spec, with_plan
from headrace.proof.gpu_use import GpuWatch, gpu_use
from headrace.runs import write_plan_files
from headrace.spec.fleet import Fleet
from headrace.spec.workload import Workload
from headrace.targets.deployment import Deployment
from headrace.targets.local import fleet as local
from headrace.targets.local.job import plan_job
from headrace.tuner.counters import Counters
from headrace.tuner.space import settled

Planner = Callable[[Fleet], Plan]
"""Loads what a fleet names and plans it."""
OnPhase = Callable[[str], None]


@dataclass(frozen=True)
class Served:
    """A fleet that is ready."""

    plan: Plan
    urls: list[str]
    """Where the load goes: the gateway, or every replica."""
    replica_urls: list[str]
    ready_s: float
    """From its start until every replica was ready."""
    deployment: Callable[[], Deployment | None] = lambda: None
    """What its agent says now."""


@contextmanager
def served(
    plan: Plan,
    folder: Path,
    on_phase: OnPhase | None = None,
    start_timeout_s: float | None = None,
) -> Iterator[Served]:
    """Start a plan's fleet on this machine; it is stopped on the way out, whatever happened.

    Leaves plan.json, fleet.yaml, startup.json (when which phase began) and logs/ in `folder`.
    Raises HeadraceError with the replica's own reason when it does not start.
    """
    write_plan_files(plan, folder)
    phases = _Phases(folder / "startup.json", on_phase)
    fleet = local.start(plan_job(plan, folder, start_timeout_s=start_timeout_s), attached=True)
    deployment = local.wait_ready(fleet, on_change=phases)
    phases.note("ready")
    try:
        replicas = [replica.url for replica in deployment.replicas]
        yield Served(plan, deployment.urls, replicas, phases.elapsed_s(), fleet.deployment)
    finally:
        local.stop(fleet)


def plan_of_load(plan: Plan, workload: Workload, planner: Planner) -> Plan:
    """What the plan's flags, as they are, are predicted to do under another load."""
    fleet = settled(plan.fleet, plan.chosen.engine_args)
    return planner(fleet.model_copy(update={"workload": workload}))


def measure(
    at: Served,
    plan: Plan,
    folder: Path,
    duration_s: float,
    *,
    processes: int = 1,
    seed: int = 0,
    progress: OnProgress | None = None,
    stop: threading.Event | None = None,
    counters: Callable[[Counters], None] | None = None,
) -> Summary:
    """Load a ready fleet as `plan` (see `plan_of_load`) says, for `duration_s` after the warm-up.

    Leaves a run's folder with engine.jsonl, the engines' own counters, beside the usual files.
    `counters` is handed them as the load begins, for whoever decides to set `stop`.
    """
    write_plan_files(plan, folder)
    spec = bench_spec(plan, at.urls, duration_s, None)
    spec = spec.model_copy(update={"processes": processes, "seed": seed})
    gpus = GpuWatch(at.deployment)
    seen = to_all(gpus.seen, progress)
    with Counters(at.replica_urls, folder / "engine.jsonl") as watch, gpus:
        if counters is not None:
            counters(watch)
        summary = run_bench(spec, folder, progress=seen, stop=stop, force=True)
    summary = with_plan(summary, plan).model_copy(update={"gpus": gpu_use(gpus.readings)})
    replace_file(folder / "summary.json", summary.model_dump_json(indent=2) + "\n")
    return summary


class _Phases:
    """Notes when the first replica's start came to which phase, and writes it down each time."""

    def __init__(self, path: Path, on_phase: OnPhase | None) -> None:
        self._path = path
        self._show = on_phase
        self._began_s = time.monotonic()
        self._seen: list[dict[str, Any]] = []

    def elapsed_s(self) -> float:
        return round(time.monotonic() - self._began_s, 2)

    def __call__(self, deployment: Deployment) -> None:
        replica = deployment.replicas[0]
        if replica.state == "starting" and replica.detail:
            self.note(replica.detail.partition(",")[0])

    def note(self, phase: str) -> None:
        if self._seen and self._seen[-1]["phase"] == phase:
            return
        self._seen.append({"phase": phase, "at_s": self.elapsed_s()})
        replace_file(self._path, orjson.dumps(self._seen, option=orjson.OPT_INDENT_2).decode())
        if self._show is not None:
            self._show(phase)
