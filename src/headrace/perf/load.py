"""The user's own calibrations: a TOML file beside the packaged ones, read and written here.

The file is `$HEADRACE_CALIBRATIONS`, else `calibrations.toml` in `$XDG_CONFIG_HOME/headrace`
(`~/.config/headrace`). Everything that predicts takes its entries before the packaged ones.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from tempfile import NamedTemporaryFile

from pydantic import ValidationError

from headrace.errors import HeadraceError, InputError
from headrace.perf.calibration import Calibration
from headrace.perf.constants import Constants, load_constants

VARIABLE = "HEADRACE_CALIBRATIONS"


def calibrations_path() -> Path:
    """Where the user's calibrations are, whether or not there are any."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "headrace" / "calibrations.toml"


def current_constants(path: Path | None = None) -> Constants:
    """The packaged constants with the user's calibrations before them.

    Raises InputError for a file that cannot be read, naming the entry and the field.
    """
    return load_constants().with_calibrations(tuple(read_calibrations(path or calibrations_path())))


def read_calibrations(path: Path) -> list[Calibration]:
    """All entries of a file; none when there is no file."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}", hint=_what_to_do(path)) from error
    try:
        return [Calibration.model_validate(entry) for entry in document.get("calibration", [])]
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {field}: {first['msg']}", hint=_what_to_do(path)) from error


def write_calibrations(path: Path, entries: list[Calibration]) -> None:
    """Replace the file as a whole, or not at all."""
    text = "# Written by `headrace calibrate`. Entries come before the packaged calibrations.\n"
    text += "".join(_entry(entry) for entry in entries)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as file:
            file.write(text)
        Path(file.name).replace(path)
    except OSError as error:
        raise HeadraceError(
            f"{path}: cannot be written: {error.strerror}", hint="name another file with --output"
        ) from error


def _entry(entry: Calibration) -> str:
    """JSON's strings, numbers and lists are TOML's too."""
    values = entry.model_dump(mode="json", exclude_none=True)
    lines = (f"{name} = {json.dumps(value)}" for name, value in values.items())
    return "\n[[calibration]]\n" + "\n".join(lines) + "\n"


def _what_to_do(path: Path) -> str:
    return f"correct {path}, or move it away and run `headrace calibrate` again"
