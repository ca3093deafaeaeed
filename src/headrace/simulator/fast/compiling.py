"""How the core is compiled."""

from __future__ import annotations

from pathlib import Path

from headrace import compiling
from headrace.compiling import Function


def cache_dir() -> Path:
    """Where compiled code is kept."""
    return compiling.cache_dir(Path(__file__).parent, "simulator")


def is_compiled() -> bool:
    """Whether an earlier simulation has left its compiled code."""
    return any(cache_dir().rglob("loop.advance-*.nbi"))


CACHE = cache_dir()


def compiled(function: Function) -> Function:
    """The compiled function."""
    return compiling.compiled_into(CACHE, function)
