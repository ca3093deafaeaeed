"""The job file of one server process: which replicas it simulates, on which ports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, ValidationError

from headrace.errors import InputError
from headrace.perf.replica import ReplicaModel

Port = Annotated[int, Field(ge=1, le=65_535)]


class SimulatedJob(BaseModel):
    """What `python -m headrace.engines.simulated --job FILE` reads. No secrets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """The name that clients ask for."""
    host: str = "127.0.0.1"
    ports: list[Port] = Field(min_length=1)
    """One replica each."""
    replica: dict[str, Any]
    """`ReplicaModel.to_json()`."""
    max_model_len: PositiveInt
    vocab_size: PositiveInt
    start_delay_s: NonNegativeFloat = 0.0
    """Pretended loading time: ports open after it, as vLLM's do."""
    seed: int = 0
    gpu: str = "GPU"
    """What is simulated, for the log."""

    def replica_model(self) -> ReplicaModel:
        """The replica. Raises InputError when a number is missing or unknown."""
        try:
            return ReplicaModel.from_json(self.replica)
        except (TypeError, KeyError) as error:
            raise InputError(f"the job's 'replica' is not a replica model: {error}") from error


def load_job(path: Path) -> SimulatedJob:
    """Read a job file. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot read the job: {error.strerror}") from error
    try:
        return SimulatedJob.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            f"{path}: {where}: {first['msg']}", hint="let `headrace up` write the job"
        ) from error
