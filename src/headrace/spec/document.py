"""YAML text as plain values that remember where they stand in the file.

Scalars follow YAML 1.2's core schema, not PyYAML's 1.1: `no`, `on`, `012`, `1:30` and dates stay
text, `1e3` is a number. The text as typed is kept, so that `version: 0.30` does not become 0.3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

FieldPath = tuple[str | int, ...]
"""A place in the file: ("hardware", "gpu"); list items by index."""

MAX_DEPTH = 30
"""libyaml's composer overruns the C stack on text that nests without end."""
MAX_VALUES = 10_000
"""Aliases can multiply a short text into more values than memory holds."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_STANDARD_TAG = re.compile(r"tag:yaml\.org,2002:(null|bool|int|float|str|timestamp|merge|value)")


@dataclass(frozen=True, order=True)
class Mark:
    """A line and a column, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, and what was expected and what to do, in one text."""

    mark: Mark
    field: FieldPath
    text: str


class BrokenYamlError(Exception):
    """The text is not YAML, so that nothing can be said about its fields."""

    def __init__(self, mark: Mark, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(mark, (), text)


@dataclass
class Document:
    """The values, and for every field where its key and its value stand."""

    value: Any = None
    keys: dict[FieldPath, Mark] = field(default_factory=dict)
    values: dict[FieldPath, Mark] = field(default_factory=dict)
    typed: dict[FieldPath, str] = field(default_factory=dict)
    """Unquoted scalars as they were typed."""
    problems: list[Problem] = field(default_factory=list)

    def mark(self, at: FieldPath, *, key: bool = False) -> Mark:
        """Where a field's value (or its key) stands; of the nearest parent when it is absent."""
        marks = self.keys if key else self.values
        while at and at not in marks:
            at = at[:-1]
        return marks.get(at, Mark(1, 1))

    def problem(self, at: FieldPath, text: str, *, key: bool = False) -> Problem:
        """A problem with the value (or the key) at `at`."""
        return Problem(self.mark(at, key=key), at, text)


def read_document(text: str) -> Document:
    """Read one YAML document. An empty text gives None.

    Raises BrokenYamlError for text that is not YAML; what is YAML but has no place in a fleet file
    (duplicate keys, tags, keys that are not text) is listed in `problems`.
    """
    _refuse_control_characters(text)
    document = Document()
    try:
        _refuse_depth(text)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _broken(text, error) from None
    if root is not None:
        document.value = _Reader(document).value(root, ())
    return document


def _refuse_control_characters(text: str) -> None:
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if found:
        before = text[: found.start()]
        mark = Mark(before.count("\n") + 1, found.start() - before.rfind("\n"))
        raise BrokenYamlError(
            mark, f"the character {found.group()!r} cannot stand in YAML: take it out"
        )


def _refuse_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise BrokenYamlError(_mark(event), f"nested over {MAX_DEPTH} deep: not a fleet file")


def _broken(text: str, error: yaml.MarkedYAMLError) -> BrokenYamlError:
    at = error.problem_mark or error.context_mark
    mark = Mark(at.line + 1, at.column + 1) if at else Mark(1, 1)
    what = error.problem or error.context or "it cannot be read"
    if error.problem and error.context_mark and error.context_mark.line + 1 != mark.line:
        what += f" ({error.context}, which starts on line {error.context_mark.line + 1})"
    return BrokenYamlError(mark, f"not valid YAML: {what}; {_advice(text, mark)}")


def _advice(text: str, mark: Mark) -> str:
    lines = text.split("\n")
    line = lines[mark.line - 1] if mark.line <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or line[mark.column - 1 :].startswith("\t"):
        return "YAML does not allow tabs here: indent with spaces"
    return "check brackets, quotes and indentation on this line and the one before it"


def _mark(node: Any) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


class _Reader:
    """Turns nodes into values, noting places and problems in a Document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._seen = 0

    def value(self, node: yaml.Node, at: FieldPath) -> Any:
        self._count(node, at)
        self._document.values.setdefault(at, _mark(node))
        if isinstance(node, yaml.MappingNode):
            return {key: self.value(child, (*at, key)) for key, child in self._entries(node, at)}
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*at, i)) for i, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, at)

    def _count(self, node: yaml.Node, at: FieldPath) -> None:
        self._seen += 1
        if self._seen > MAX_VALUES or len(at) > MAX_DEPTH:
            raise BrokenYamlError(_mark(node), "too many values (an alias that repeats itself?)")

    def _entries(self, node: yaml.MappingNode, at: FieldPath) -> Iterator[tuple[str, yaml.Node]]:
        """Keys as typed, with their values; keys that cannot be used are noted and left out."""
        first: dict[str, int] = {}
        for key, child in node.value:
            name, mark = key.value, _mark(key)
            if not isinstance(key, yaml.ScalarNode):
                self._note(mark, at, "a key must be a single word")
            elif name in first:
                text = f"given twice, first on line {first[name]}: take one of them out"
                self._note(mark, (*at, name), text)
            else:
                first[name] = mark.line
                self._document.keys[*at, name] = mark
                yield name, child

    def _scalar(self, node: yaml.ScalarNode, at: FieldPath) -> Any:
        if not _STANDARD_TAG.fullmatch(node.tag):
            self._note(_mark(node), at, f"a fleet file has no tags: take out {node.tag}")
        if node.style in ("'", '"', "|", ">"):
            return node.value
        self._document.typed[at] = node.value
        return plain_value(node.value)

    def _note(self, mark: Mark, at: FieldPath, text: str) -> None:
        self._document.problems.append(Problem(mark, at, text))


def plain_value(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means in YAML 1.2's core schema; infinities stay text."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text
