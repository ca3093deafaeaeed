"""Who reads a drain's lines in tests that run with each: plain Python, or compiled code."""

from __future__ import annotations

from headrace.loadgen.fast.quick import CompiledQuick
from headrace.loadgen.lending import Quick

NAMES = ("python", "compiled")
chosen = "python"
"""Set by the fixture `each_reader`."""


def compiled() -> bool:
    """Whether it is compiled code's turn."""
    return chosen == "compiled"


def reader() -> Quick | None:
    """What a drain is to be given."""
    return CompiledQuick() if compiled() else None
