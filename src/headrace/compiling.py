"""How loops are compiled by numba, where it is installed: cached on disk, inlined, no reference
counts, no zero-division checks.

Arrays come in and stay the caller's; nothing compiled allocates, so counting references would only
cost time: in the simulator it took five sixths of it. A call passes an array as its shape and
strides on the stack: calls took half of the rest there, so none is left.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def cache_dir(package: Path, name: str) -> Path:
    """Where the compiled code of a package is kept, one folder for each state of its sources.

    numba looks at a function's own file only: a change in another one that it calls would go
    unnoticed, and an old copy of that would run on.
    """
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(package.glob("*.py")):
        digest.update(path.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "headrace" / f"{name}-{digest.hexdigest()[:16]}"


def compiler(folder: Path) -> Callable[[Function], Function]:
    """What compiles a function; its code is kept in the folder."""

    def compiled(function: Function) -> Function:
        numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
        options: dict[str, Any] = {"cache": True, "error_model": "numpy", "_nrt": False}
        made: Function = numba.njit(forceinline=True, **options)(function)
        return made

    return compiled
