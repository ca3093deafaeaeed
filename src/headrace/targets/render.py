"""Which targets can be written as files: a line here for each, and nothing else changes."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from headrace.errors import InputError
from headrace.files import replace_file
from headrace.planner.plan import Plan
from headrace.spec.fleet import Fleet
from headrace.spec.target import KINDS

RENDERERS: dict[str, str] = {
    "kubernetes": "headrace.targets.kubernetes.render",
    "slurm": "headrace.targets.slurm.render",
}
"""The module that renders for a kind of target; imported when it is asked for."""


@dataclass(frozen=True)
class Rendered:
    """Files by their path below the folder, and what to type next, that folder given."""

    files: Mapping[str, str]
    next_step: str
    """`{folder}` stands for the folder they are written to."""
    remark: str = ""
    """What is left to do on the fleet file itself, if anything; `{fleet}` stands for it."""


class Renderer(Protocol):
    """What a module of `RENDERERS` offers."""

    def render(self, plan: Plan) -> Rendered:
        """The files of a plan whose `fleet.target` is of the module's kind.

        Pure: it reads and contacts nothing. Raises InputError for what the target cannot do.
        """


def renderer(kind: str) -> Renderer:
    """The module for a kind of target. Raises InputError that names those there are."""
    if kind not in RENDERERS:
        known = ", ".join(sorted(RENDERERS))
        what = "is started, not written" if kind in KINDS else "is no kind of target"
        raise InputError(f"{kind} {what}", hint=f"`headrace render` writes files for: {known}")
    return cast(Renderer, importlib.import_module(RENDERERS[kind]))


def aimed_at(fleet: Fleet, kind: str) -> Fleet:
    """The fleet with a target of that kind: its own where it has one, else one of defaults."""
    if fleet.target.kind == kind:
        return fleet
    return fleet.model_copy(update={"target": KINDS[kind].model_validate({"kind": kind})})


def write(rendered: Rendered, folder: Path, *, force: bool) -> list[Path]:
    """Write the files and return their paths.

    Raises InputError when the folder holds something and `force` is not set; then nothing is
    written. With `force`, files of the same names are replaced and others are left alone.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file", hint="name a folder with --output")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise InputError(f"{folder} holds files already", hint="choose another, or pass --force")
    paths = []
    for name, text in rendered.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text)
        paths.append(path)
    return paths


def difference(rendered: Rendered, folder: Path) -> str:
    """A unified diff from the folder to what would be written; empty when they are the same.

    Files of the folder that would not be written show as deleted: they are left from before.
    """
    present = _texts(folder)
    parts: list[str] = []
    for name in sorted({*present, *rendered.files}):
        before, after = present.get(name), rendered.files.get(name)
        parts += difflib.unified_diff(
            (before or "").splitlines(keepends=True),
            (after or "").splitlines(keepends=True),
            "/dev/null" if before is None else f"a/{name}",
            "/dev/null" if after is None else f"b/{name}",
        )
    return "".join(parts)


def _texts(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    files = [path for path in folder.rglob("*") if path.is_file()]
    named = {str(path.relative_to(folder)): path for path in files}
    return {
        name: path.read_text(encoding="utf-8", errors="replace")
        for name, path in named.items()
        if not any(part.startswith(".") for part in Path(name).parts)
    }
