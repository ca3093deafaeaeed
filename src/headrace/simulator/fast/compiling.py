"""How the core is compiled."""

from __future__ import annotations

from pathlib import Path

from headrace.compiling import cache_dir, compiler

CACHE = cache_dir(Path(__file__).parent, "simulator")

compiled = compiler(CACHE)


def is_compiled() -> bool:
    """Whether an earlier simulation has left its compiled code."""
    return any(CACHE.rglob("loop.advance-*.nbi"))
