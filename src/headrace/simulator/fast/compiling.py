"""How the core is compiled: cached on disk, no reference counts, no checks for division by zero.

Arrays come in and stay the caller's; nothing in the core allocates, so counting references would
only cost time: it took five sixths of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """The compiled function."""
    options: dict[str, Any] = {"cache": True, "error_model": "numpy", "_nrt": False}
    made: Function = njit(**options)(function)
    return made
