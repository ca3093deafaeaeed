"""Manifests as YAML: keys in the builders' order, strings plain, comments where they belong."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from headrace.targets.kubernetes.objects import Manifest, Object

WIDTH = 100
COMMENT_COLUMN = 48


class _Dumper(yaml.SafeDumper):
    """Lists are indented below their key, long strings are blocks, nothing is aliased."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def document(manifests: Iterable[Manifest], heading: str = "") -> str:
    """A file of manifests, each after its comment."""
    parts = [commented(manifest) for manifest in manifests]
    first = comment(heading) + "\n" if heading else ""
    return first + "---\n".join(parts)


def commented(manifest: Manifest) -> str:
    """One object with its comments."""
    return comment(manifest.text) + annotated(dump(manifest.object), manifest.notes)


def comment(text: str) -> str:
    """Text as comment lines."""
    return "".join(
        f"# {line}\n" if line else "#\n"
        for paragraph in text.split("\n")
        for line in (textwrap.wrap(paragraph, WIDTH - 2) or [""])
    )


def dump(value: Object | list[Any]) -> str:
    """Plain YAML, the same for the same value."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000, indent=2
    )


def annotated(text: str, notes: Mapping[str, str]) -> str:
    """Put each note on the line of its path, or above it where the line is long.

    Raises KeyError for a path that is not in the text: a note never goes astray unseen.
    """
    lines = text.splitlines()
    places = dict(_places(yaml.compose(text), ""))
    for path in sorted(notes, key=lambda path: places[path], reverse=True):
        number = places[path]
        line = lines[number]
        if len(line) < COMMENT_COLUMN and len(notes[path]) + COMMENT_COLUMN < WIDTH + 20:
            lines[number] = f"{line.ljust(COMMENT_COLUMN)}# {notes[path]}"
        else:
            indent = " " * (len(line) - len(line.lstrip()))
            lines[number:number] = [indent + c for c in comment(notes[path]).splitlines()]
    return "\n".join(lines) + "\n"


def _places(node: yaml.Node | None, at: str) -> Iterator[tuple[str, int]]:
    """Every path and the line it begins on."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{at}.{key.value}" if at else str(key.value)
            yield path, key.start_mark.line
            yield from _places(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield f"{at}.{number}", item.start_mark.line
            yield from _places(item, f"{at}.{number}")
