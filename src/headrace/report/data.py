"""A run's folder as one typed value: what a report is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from headrace.errors import InputError
from headrace.loadgen.summary import Summary
from headrace.planner.plan import Plan
from headrace.report.records import Records, Timeline, load_records, load_timeline
from headrace.targets.deployment import Deployment

Document = TypeVar("Document", bound=BaseModel)

MADE_BY = {
    "plan.json": "`headrace run` or `headrace plan FLEET -o plan.json`",
    "summary.json": "`headrace run` or `headrace bench`",
    "deployment.json": "`headrace run` or `headrace up`",
}


@dataclass(frozen=True)
class RunData:
    """What one run left behind. A plan or a summary is there, often both."""

    folder: Path
    plan: Plan | None
    summary: Summary | None
    records: Records | None
    timeline: Timeline | None
    deployment: Deployment | None
    fleet_yaml: str | None

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def simulated(self) -> bool:
        """Whether any of its files says so: a simulated result is never shown as a real one."""
        engines = [
            self.summary.engine if self.summary else "",
            self.deployment.engine if self.deployment else "",
            self.plan.fleet.engine.kind if self.plan else "",
        ]
        return any(engine.startswith("simulated") for engine in engines)

    @property
    def stand_ins(self) -> dict[str, str]:
        """What was not the real thing, by what it replaced: random weights, drafts by chance."""
        measured = self.summary.environment.get("stand_ins", {}) if self.summary else {}
        return {**(self.plan.stand_ins if self.plan else {}), **measured}

    @property
    def measured(self) -> str:
        """What a measured figure is called: one from simulated GPUs says so."""
        return "Measured (simulated)" if self.simulated else "Measured"


def load_run(folder: Path) -> RunData:
    """Read what is in `folder`.

    Raises InputError when it is no run's folder, or when a file in it is broken.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder",
            hint="name the folder of a run, e.g. runs/<id>: `headrace run` prints it at its end",
        )
    plan = _document(folder / "plan.json", Plan)
    summary = _document(folder / "summary.json", Summary)
    if plan is None and summary is None:
        raise InputError(
            f"{folder} holds neither plan.json nor summary.json",
            hint="name the folder of a run: `headrace run` or `headrace bench` makes one",
        )
    records, timeline = folder / "records.parquet", folder / "timeline.parquet"
    open_loop = summary is not None and summary.concurrency.asked is None
    return RunData(
        folder=folder,
        plan=plan,
        summary=summary,
        records=load_records(records, open_loop=open_loop) if records.is_file() else None,
        timeline=load_timeline(timeline) if timeline.is_file() else None,
        deployment=_document(folder / "deployment.json", Deployment),
        fleet_yaml=_text(folder / "fleet.yaml"),
    )


def _text(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read {path}: {error}", hint=f"make it again, or remove {path}"
        ) from error


def _document(path: Path, kind: type[Document]) -> Document | None:
    """The file as `kind`; None when there is no such file."""
    text = _text(path)
    if text is None:
        return None
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: {f'{where}: ' if where else ''}{first['msg']}",
            hint=f"make it again with {MADE_BY[path.name]}, or remove it",
        ) from error
