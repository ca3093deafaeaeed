"""Several measurements in a row: a sweep over loads, or the search for the highest good one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.errors import InputError
from headrace.files import replace_file
from headrace.loadgen.spec import BenchSpec
from headrace.loadgen.summary import Summary
from headrace.spec.slo import goals_of

Axis = Literal["concurrency", "rate"]
PRECISION = 0.05
"""The search ends when the load that met the goals and the one that did not are this close."""
MOST_STEPS = 24
INTERRUPTED = "interrupted"


class Point(BaseModel):
    """One measurement of a series. `met` says whether it was valid and met every goal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    axis: Axis
    load: float
    met: bool
    folder: str
    summary: Summary


class Series(BaseModel):
    """`sweep.json`: the points in the order of their load, and the best that met the goals."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    axis: Axis
    slo: dict[str, float]
    best_load: float | None
    """The highest load that met every goal; None when none did."""
    complete: bool
    """False when it was interrupted."""
    points: list[Point]


Measure = Callable[[BenchSpec, Path], Summary]


class Runner:
    """Measures points into folders of `out_dir`; with `resume`, those measured are read back."""

    def __init__(
        self, spec: BenchSpec, axis: Axis, out_dir: Path, measure: Measure, *, resume: bool = False
    ) -> None:
        self.spec = spec
        self.axis: Axis = axis
        self.points: list[Point] = []
        self.interrupted = False
        self._out_dir = out_dir
        self._measure = measure
        self._resume = resume

    def at(self, load: float) -> Point:
        """The point at that load: from its folder if it was measured to its end, else now."""
        value = round(load) if self.axis == "concurrency" else load
        name = f"{self.axis}-{value:g}"
        folder = self._out_dir / name
        spec = at_load(self.spec, self.axis, value)
        found = finished(folder) if self._resume else None
        summary = found or self._measure(spec, folder)
        self.interrupted = self.interrupted or INTERRUPTED in summary.invalid_reasons
        met = summary.valid and meets(spec.slo, summary)
        point = Point(axis=self.axis, load=value, met=met, folder=name, summary=summary)
        self.points.append(point)
        self._write()
        return point

    def series(self) -> Series:
        """All points so far."""
        points = sorted(self.points, key=lambda point: point.load)
        best = max((point.load for point in points if point.met), default=None)
        done = not self.interrupted
        return Series(
            axis=self.axis, slo=self.spec.slo, best_load=best, complete=done, points=points
        )

    def _write(self) -> None:
        text = self.series().model_dump_json(indent=2)
        replace_file(self._out_dir / "sweep.json", text + "\n")


def at_load(spec: BenchSpec, axis: Axis, value: float) -> BenchSpec:
    """The spec at another load; a number of requests is taken per place of the concurrency.

    Raises InputError where that load does not go with the rest.
    """
    if axis == "rate":
        return spec.model_copy(update={"request_rate": value, "concurrency": None})
    changes: dict[str, object] = {"concurrency": int(value), "request_rate": None}
    if spec.requests is not None and spec.concurrency:
        changes["requests"] = max(1, round(spec.requests * value / spec.concurrency))
    return BenchSpec.model_validate({**dict(spec), **changes})


def finished(folder: Path) -> Summary | None:
    """The summary in a folder, unless it is missing, broken or of an interrupted measurement."""
    try:
        summary = Summary.model_validate_json((folder / "summary.json").read_bytes())
    except (OSError, ValidationError, orjson.JSONDecodeError):
        return None
    return None if INTERRUPTED in summary.invalid_reasons else summary


def meets(slo: dict[str, float], summary: Summary) -> bool:
    """Whether every goal was met by its percentile."""
    if summary.latency_ms is None:
        return False
    return all(
        summary.latency_ms.at(goal.metric, goal.percentile) <= goal.limit_ms
        for goal in goals_of(slo)
    )


def sweep(runner: Runner, loads: list[float]) -> Series:
    """Every load in turn, until interrupted."""
    for load in loads:
        if not runner.interrupted:
            runner.at(load)
    return runner.series()


def find_highest(runner: Runner, start: float) -> Series:
    """The highest load that meets the goals: doubled or halved until it is bracketed, then
    bisected. Raises InputError when there are no goals to meet.
    """
    if not runner.spec.slo:
        raise InputError("--find-max: expected a goal", hint="pass --ttft-p99-ms or --tpot-p99-ms")
    good, bad = 0.0, 0.0
    least = float(runner.spec.refill) if runner.axis == "concurrency" else start / 2**10
    load = start
    for _ in range(MOST_STEPS):
        point = runner.at(load)
        if runner.interrupted:
            break
        good, bad = (max(good, point.load), bad) if point.met else (good, point.load)
        if (bad and good and _close(runner.axis, good, bad)) or (not good and load <= least):
            break
        load = good * 2 if not bad else (good + bad) / 2 if good else max(least, bad / 2)
    return runner.series()


def _close(axis: Axis, good: float, bad: float) -> bool:
    return bad - good <= max(1.0 if axis == "concurrency" else 0.0, PRECISION * good)
