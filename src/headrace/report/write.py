"""The report as a file: what `headrace run` and `headrace report` call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headrace.errors import InputError
from headrace.files import replace_file
from headrace.report.data import load_run
from headrace.report.page import render


def write_report(run_dirs: Sequence[Path], out: Path, *, force: bool = False) -> Path:
    """Write one HTML page over the runs to `out` and return its absolute path.

    Raises InputError when a run's folder is missing or broken, when `out` exists and `force` is
    not set, or when it cannot be written.
    """
    if not run_dirs:
        raise InputError("no run was named", hint="name at least one folder: runs/<id>")
    check_free(out, force=force)
    return write_page(render([load_run(folder) for folder in run_dirs]), out)


def check_free(out: Path, *, force: bool) -> None:
    """Raises InputError for a folder, and for a file that is not to be overwritten."""
    if out.is_dir():
        raise InputError(f"{out} is a folder", hint="name a file with -o, e.g. -o report.html")
    if out.exists() and not force:
        raise InputError(f"{out} exists", hint="choose another with -o, or pass --force")


def write_page(page: str, out: Path) -> Path:
    """Write a page whole, and return its absolute path. Raises InputError where it cannot be."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, page)
    except OSError as error:
        raise InputError(
            f"cannot write {out}: {error.strerror}", hint="choose another with -o"
        ) from error
    return out.resolve()
