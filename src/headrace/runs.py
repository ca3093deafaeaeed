"""A run's folder: `runs/<id>/`, where every stop leaves the file that the next one reads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from headrace.errors import InputError

RUNS = Path("runs")


def run_path(name: str) -> Path:
    """Where a run of that name goes when it begins now; nothing is made."""
    return RUNS / f"{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}-{name}"


def new_run_dir(name: str, output: Path | None = None, *, force: bool = False) -> Path:
    """Make and return the folder of a new run, `runs/<UTC time>-<name>` unless `output` is given.

    Raises InputError when `output` holds something and `force` is not set.
    """
    folder = output or run_path(name)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file", hint="name a folder for the run with --output")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise InputError(f"{folder} holds files already", hint="choose another, or pass --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}", hint="pass --output") from error
    return folder.resolve()
