"""How the core is compiled: cached on disk, inlined, no reference counts, no zero-division checks.

Arrays come in and stay the caller's; nothing in the core allocates, so counting references would
only cost time: it took five sixths of it. A call passes the state as three hundred numbers on the
stack, every array with its shape and strides: calls took half of the rest, so none is left.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def cache_dir() -> Path:
    """Where compiled code is kept, one folder for each state of the sources.

    numba looks at a function's own file only: a change in another one that it calls would go
    unnoticed, and an old copy of that would run on.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "headrace" / f"simulator-{digest.hexdigest()[:16]}"


def is_compiled() -> bool:
    """Whether an earlier simulation has left its compiled code."""
    return any(cache_dir().rglob("loop.advance-*.nbi"))


CACHE = str(cache_dir())


def compiled(function: Function) -> Function:
    """The compiled function."""
    numba.config.CACHE_DIR = CACHE  # type: ignore[attr-defined]
    options: dict[str, Any] = {"cache": True, "error_model": "numpy", "_nrt": False}
    made: Function = numba.njit(forceinline=True, **options)(function)
    return made
