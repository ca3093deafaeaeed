"""A run's folder: `runs/<id>/`, where every stop leaves the file that the next one reads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import InputError
from headrace.files import replace_file

if TYPE_CHECKING:
    from headrace.planner.plan import Plan
    from headrace.spec.fleet import Fleet

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


def write_plan_files(plan: Plan, folder: Path) -> None:
    """`plan.json` and `fleet.yaml`, as every run's folder has them."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    replace_file(folder / "plan.json", plan.model_dump_json(indent=2) + "\n")
    replace_file(folder / "fleet.yaml", fleet_text(plan.fleet))


def fleet_text(fleet: Fleet) -> str:
    """A fleet as a fleet file that loads to the same."""
    import yaml

    follows = {"traced", "input_tokens", "output_tokens", "prefix_hit_rate"}
    exclude = {"workload": follows if fleet.workload.trace else {"traced"}}
    document = fleet.model_dump(mode="json", exclude_none=True, exclude=exclude)
    return yaml.safe_dump(document, sort_keys=False)
