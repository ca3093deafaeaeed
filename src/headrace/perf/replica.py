"""A replica, modelled: its step times and its scheduler's limits. JSON in and out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from headrace.perf.step import StepModel
from headrace.scheduler.spec import CacheSpec, SchedulerSpec


@dataclass(frozen=True)
class ReplicaModel:
    """All that the simulated engine and the simulator need to know of one replica."""

    step: StepModel
    scheduler: SchedulerSpec

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, as `Plan.simulation` holds them."""
        document = asdict(self)
        step = document["step"].items()
        document["step"] = {k: list(v) if isinstance(v, tuple) else v for k, v in step}
        return document

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ReplicaModel:
        """The inverse of `to_json`."""
        scheduler = dict(data["scheduler"])
        scheduler["cache"] = CacheSpec(**scheduler["cache"])
        step: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data["step"].items()
        }
        return cls(step=StepModel(**step), scheduler=SchedulerSpec(**scheduler))
