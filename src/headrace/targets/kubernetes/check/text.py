"""Manifests' YAML as the API's tools read it, which is not quite as PyYAML does.

Dates and `1:30` are text, `1e3` is a number. Text that would grow or recurse without end is refused
before anything is built from it: a stranger's file may be anything.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_DEPTH = 100
MAX_VALUES = 1_000_000
"""Of one document, aliases counted as often as they stand."""
TEMPLATE = "{{"

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TIMESTAMP, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("timestamp", "int", "float"))
_INTEGER = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$")
_NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)


class UnreadableError(Exception):
    """The text is no YAML that an API server would take. `line` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


class Loader(_BASE):  # type: ignore[misc]
    """PyYAML's safe loader with the numbers and texts of the API's own reader."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in found if tag not in (_TIMESTAMP, _INT, _FLOAT)]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Loader.add_implicit_resolver(_INT, _INTEGER, list("-+0123456789"))
Loader.add_implicit_resolver(_FLOAT, _NUMBER, list("-+.0123456789"))


def documents(text: str) -> list[yaml.Node]:
    """The documents of a text, those left out that hold nothing. Raises UnreadableError."""
    try:
        _refuse_depth(text)
        nodes = [node for node in yaml.compose_all(text, Loader=Loader) if node is not None]
    except yaml.YAMLError as error:
        raise UnreadableError(*_said(error)) from None
    for node in nodes:
        if _size(node, {}) > MAX_VALUES:
            text = f"over {MAX_VALUES:,} values (an alias that repeats itself?)"
            raise UnreadableError(_line(node), text)
    return nodes


def value_of(node: yaml.Node) -> Any:
    """A document's value. Raises UnreadableError for tags that only a program could follow."""
    try:
        return Loader("").construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        raise UnreadableError(*_said(error, _line(node))) from None


def _said(error: Exception, line: int = 1) -> tuple[int, str]:
    """Where PyYAML's error is, counted from 1, and what it says."""
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return mark.line + 1 if mark else line, str(what)


def key_twice(node: yaml.Node, seen: set[int] | None = None) -> tuple[str, int] | None:
    """The first key that a mapping has twice, and its line: YAML readers keep the last silently."""
    seen = set() if seen is None else seen
    if id(node) in seen:
        return None
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys and key.value != "<<":
                    return key.value, key.start_mark.line + 1
                keys.add(key.value)
    found = (key_twice(child, seen) for child in _children(node))
    return next((twice for twice in found if twice), None)


def _refuse_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_BASE):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UnreadableError(_line(event), f"nested over {MAX_DEPTH} deep")


def _line(place: Any) -> int:
    """Where a node or an event begins, counted from 1."""
    return int(place.start_mark.line) + 1


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """Values below a node, aliases followed; endless where a node holds itself."""
    if id(node) not in known:
        known[id(node)] = float("inf")
        known[id(node)] = 1 + sum(_size(child, known) for child in _children(node))
    return known[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for entry in node.value for part in entry]
    return node.value if isinstance(node, yaml.SequenceNode) else []
