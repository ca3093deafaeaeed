"""Objects as rules may read them: what their schema refuses, and what is null, is not there.

A rule asks for a container's `env` and may count on a list of mappings. That a stranger's manifest
has a word there is the schema's finding; for the rules nothing is there then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Path = Sequence[str | int]
MISFITS = ("type", "oneOf", "anyOf")
"""jsonschema's words for a value of the wrong type."""


def misfits(errors: Iterable[Any]) -> list[Path]:
    """Where jsonschema's errors say that a value has the wrong type."""
    return [tuple(error.absolute_path) for error in errors if error.validator in MISFITS]


def clear(value: Any, paths: Iterable[Path]) -> None:
    """Put null in these places; a list's other items keep theirs."""
    for *above, last in (path for path in paths if path):
        parent = value
        for part in above:
            parent = _at(parent, part)
        if _at(parent, last) is not None:
            parent[last] = None


def without_nulls(value: Any) -> Any:
    """A copy in which nothing is null: the API takes null for absent."""
    if isinstance(value, dict):
        return {key: without_nulls(child) for key, child in value.items() if child is not None}
    if isinstance(value, list):
        return [without_nulls(child) for child in value if child is not None]
    return value


def _at(parent: Any, part: str | int) -> Any:
    """A part, or nothing where something above it was cleared before."""
    if isinstance(parent, dict):
        return parent.get(part)
    if isinstance(parent, list) and isinstance(part, int) and part < len(parent):
        return parent[part]
    return None
