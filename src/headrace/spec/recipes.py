"""The packaged fleet files to start from, in `headrace/recipes/`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import InputError

FOLDER = Path(__file__).parent.parent / "recipes"
EXAMPLE = "qwen35-27b-b200x8"
"""The recipe that `headrace run` and `headrace init` take when none is named."""


@dataclass(frozen=True)
class Recipe:
    """A packaged fleet file; its title is its first comment that is not for editors."""

    name: str
    title: str
    path: Path


def recipes() -> list[Recipe]:
    """All packaged recipes by name."""
    files = [FOLDER / f"{name}.yaml" for name in _names()]
    return [Recipe(file.stem, _title(file), file) for file in files]


def recipe_path(name: str) -> Path:
    """The file of a recipe. Raises InputError with the nearest name when there is none."""
    path = FOLDER / f"{name}.yaml"
    if name in _names():
        return path
    nearest = nearest_recipe(name)
    meant = f"; did you mean {nearest}?" if nearest else ""
    raise InputError(f"no recipe is named {name}{meant}", hint=f"Named are: {', '.join(_names())}.")


def recipe_text(name: str) -> str:
    """The text of a recipe, comments included. Raises InputError as `recipe_path`."""
    return recipe_path(name).read_text(encoding="utf-8")


def nearest_recipe(name: str) -> str | None:
    """The recipe whose name is closest to a mistyped one."""
    return next(iter(difflib.get_close_matches(name, _names(), n=1, cutoff=0.5)), None)


def _names() -> list[str]:
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def _title(file: Path) -> str:
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and "yaml-language-server" not in line:
            return line.removeprefix("# ")
    return file.stem
