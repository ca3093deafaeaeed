"""Change values in a fleet file's text, and leave every other character as it stands.

A YAML library that writes what it read keeps comments but lays out the whole file anew; here only
the lines that are asked for change, so that the difference can be reviewed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import yaml

from headrace.spec.document import FieldPath, plain_value, read_document

STEP = "  "
"""Indentation of a mapping that is written anew."""


class CannotEditError(Exception):
    """The text is laid out in a way that cannot be changed in place (an alias, a merged key)."""


def with_values(text: str, values: Mapping[FieldPath, str]) -> str:
    """The text of a valid fleet file with these fields set; mappings that lack are made.

    A value must be a word: no spaces, no YAML signs. Raises CannotEditError when
    the result would not say just that.
    """
    after = text
    for at, value in values.items():
        after = _with_value(after, at, value)
    if read_document(after).value != _wanted(text, values):
        raise CannotEditError
    return after


def _wanted(text: str, values: Mapping[FieldPath, str]) -> Any:
    wanted = copy.deepcopy(read_document(text).value)
    for at, value in values.items():
        parent = wanted
        for name in at[:-1]:
            parent[name] = parent.get(name) or {}
            parent = parent[name]
        parent[at[-1]] = value
    return wanted


def _with_value(text: str, at: FieldPath, value: str) -> str:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, name in enumerate(at):
        if not isinstance(node, yaml.MappingNode):
            return _filled(text, node, at[depth:], value)
        child = next((child for key, child in node.value if key.value == name), None)
        if child is None:
            return _added(text, node, at[depth:], value)
        node = child
    if not isinstance(node, yaml.ScalarNode):
        raise CannotEditError
    return _filled(text, node, (), value)


def _filled(text: str, node: yaml.Node, below: FieldPath, value: str) -> str:
    """The text with a scalar replaced; a mapping of `below` stands where nothing stood."""
    start, end = node.start_mark.index, node.end_mark.index
    style = getattr(node, "style", None)
    if style in ("|", ">"):
        raise CannotEditError
    quoted = style in ("'", '"') and not below
    written = f"{style}{value}{style}" if quoted else _flow(below, value)
    space = " " if text[start - 1 : start] == ":" else ""
    return text[:start] + space + written + text[end:]


def _added(text: str, parent: yaml.MappingNode, path: FieldPath, value: str) -> str:
    """The text with another entry in a mapping."""
    if parent.flow_style:
        return _added_in_line(text, parent, path, value)
    place, indent = _place(text, parent)
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = _block(path, value, indent)
    if place and text[place - 1] != "\n":
        return text[:place] + newline + newline.join(lines) + text[place:]
    return text[:place] + newline.join(lines) + newline + text[place:]


def _added_in_line(text: str, parent: yaml.MappingNode, path: FieldPath, value: str) -> str:
    entry = f"{path[0]}: {_flow(path[1:], value)}"
    if parent.value:
        end = parent.value[-1][1].end_mark.index
        return f"{text[:end]}, {entry}{text[end:]}"
    start, end = parent.start_mark.index, parent.end_mark.index
    return f"{text[:start]}{{{entry}}}{text[end:]}"


def _place(text: str, parent: yaml.MappingNode) -> tuple[int, str]:
    """Where a line goes: behind the first entries of one line each, else before the first entry."""
    first = parent.value[0][0].start_mark
    place = first.index - first.column
    for key, child in parent.value:
        if child.end_mark.line != key.start_mark.line:
            break
        end = text.find("\n", child.end_mark.index)
        place = len(text) if end < 0 else end + 1
    return place, text[first.index - first.column : first.index]


def _block(path: FieldPath, value: str, indent: str) -> list[str]:
    lines = [f"{indent}{STEP * depth}{name}:" for depth, name in enumerate(path)]
    lines[-1] += f" {_scalar(value)}"
    return lines


def _flow(path: FieldPath, value: str) -> str:
    written = _scalar(value)
    for name in reversed(path):
        written = f"{{{name}: {written}}}"
    return written


def _scalar(value: str) -> str:
    """The value, in quotes where it would be read as a number: a commit of digits alone."""
    return value if plain_value(value) == value else f'"{value}"'
