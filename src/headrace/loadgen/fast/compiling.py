"""How the quick way is compiled."""

from __future__ import annotations

from pathlib import Path

from headrace import compiling
from headrace.compiling import Function

CACHE = compiling.cache_dir(Path(__file__).parent, "loadgen")


def compiled(function: Function) -> Function:
    """The compiled function."""
    return compiling.compiled_into(CACHE, function)
