"""What became of one option: a line of `trials.jsonl`, from which a search is taken up again."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.errors import InputError

FILE = "trials.jsonl"
Status = Literal["measured", "stopped early", "not valid", "goal missed", "failed"]


class Trial(BaseModel):
    """One configuration that was tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    key: str
    levers: dict[str, Any]
    status: Status
    reason: str | None = None
    """Why it is no candidate for the best; None when it is."""
    folder: str
    """The run's folder, beside `trials.jsonl`."""
    engine: str = ""
    """As in a summary: `vllm 0.26.0`, or `simulated`."""
    predicted_tok_s: float
    """By the performance model, before anything was measured."""
    expected_tok_s: float
    """With what the trials before had taught."""
    measured_tok_s: float | None = None
    """Total tok/s. Of a trial that was stopped early, from the engine's own counters."""
    tpot_ms: float | None = None
    usd_per_million_tokens: float | None = None
    ready_s: float | None = None
    """How long the engine took to start."""
    took_s: float

    @property
    def counts(self) -> bool:
        """Whether it can be the best."""
        return self.status == "measured"


def read_trials(folder: Path) -> list[Trial]:
    """The trials of a search so far; none when it has not begun. Raises InputError."""
    path = folder / FILE
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        return [Trial.model_validate_json(line) for line in lines if line.strip()]
    except ValidationError as error:
        raise InputError(
            f"{path}: not the trials of a search: {error.errors()[0]['msg']}",
            hint="name the folder that `headrace tune` made, or begin anew without --resume",
        ) from error


def add_trial(folder: Path, trial: Trial) -> None:
    """Append one trial, whole."""
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(trial.model_dump_json() + "\n")


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keeps a second search out of the folder. Raises InputError."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder}: another search is running there") from error
        yield
