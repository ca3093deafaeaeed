"""A document held against the fleet's fields: a Fleet, or everything that is wrong with it."""

from __future__ import annotations

import difflib
import json
from typing import Any

from pydantic import ValidationError

from headrace.spec.document import Document, FieldPath, Problem, plain_value
from headrace.spec.fields import (
    Node,
    branches,
    expected,
    keys_of,
    mapping_in,
    node_at,
    resolved,
    types_of,
)
from headrace.spec.fleet import Fleet
from headrace.spec.schema import schema_for

_OTHER_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def validate(document: Document) -> tuple[Fleet | None, list[Problem]]:
    """The fleet that the document describes, or None and what is wrong."""
    schema = schema_for(document.value)
    fitted = _fit(schema, document, document.value, ())
    try:
        return Fleet.model_validate_json(json.dumps(fitted), strict=True), []
    except ValidationError as error:
        problems: dict[FieldPath, Problem] = {}
        for detail in error.errors(include_url=False):
            kind = detail["type"]
            where = _in_file(schema, detail["loc"], kind)
            if kind == "value_error":
                said = detail["msg"].removeprefix("Value error, ")
                problem = document.problem(where, said)
            elif _is_about_another_choice(schema, document, where):
                continue
            else:
                problem = _problem(schema, document, where, kind)
            problems.setdefault(problem.field, problem)
        return None, list(problems.values())


def _in_file(schema: Node, where: tuple[str | int, ...], kind: str) -> tuple[str | int, ...]:
    """The path without the names of a choice's branches, which pydantic puts behind it."""
    path: tuple[str | int, ...] = ()
    rest = list(where)
    while rest:
        path = (*path, rest.pop(0))
        node = node_at(schema, path) or {}
        mapping = mapping_in(node) or {}
        if len(branches(node)) > 1 and rest:
            branch = str(rest.pop(0))
            if "tag" in mapping and branch.startswith("tagged-union"):
                if kind.startswith("union_tag"):
                    return (*path, mapping["tag"])
                del rest[:1]
    return path


def _is_about_another_choice(schema: Node, document: Document, at: FieldPath) -> bool:
    """Of a mapping where a number may stand too, only what is wrong inside it is of use."""
    node = node_at(schema, at) or {}
    given = isinstance(_value(document, at), dict)
    return given and len(branches(node)) > 1 and mapping_in(node) is not None


def _fit(schema: Node, document: Document, value: Any, at: FieldPath) -> Any:
    """Numbers become the text as typed where text is meant; an empty part is an empty mapping."""
    node = node_at(schema, at) or {}
    if mapping_in(node) and (isinstance(value, dict) or (value is None and _only_mapping(node))):
        return {
            name: _fit(schema, document, child, (*at, name))
            for name, child in (value or {}).items()
        }
    text_meant = bool(types_of(node)) and types_of(node) <= {"string", "null"}
    return document.typed[at] if text_meant and _is_number(value) else value


def _only_mapping(node: Node) -> bool:
    return node.get("type") == "object"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _problem(schema: Node, document: Document, where: tuple[str | int, ...], kind: str) -> Problem:
    """One of pydantic's findings in our words."""
    at = _known_part(schema, _without_tag(where, kind, document))
    if kind == "extra_forbidden" or "[key]" in where:
        return document.problem(at, _unknown_key(schema, at), key=True)
    node = node_at(schema, at) or {}
    if kind == "missing" or (kind == "union_tag_not_found" and _value(document, at) is None):
        return document.problem(at, _missing(at, node), key=True)
    got = _got(document, at)
    return document.problem(
        at, f"expected {expected(node)}; got {got}{_repair(document, at, node)}"
    )


def _without_tag(where: tuple[str | int, ...], kind: str, document: Document) -> FieldPath:
    """A path of the file: pydantic puts the kind of target between it and its fields."""
    if kind.startswith("union_tag") and isinstance(_value(document, where), dict):
        return (*where, "kind")
    return where if where[:1] != ("target",) else (*where[:1], *where[2:])


def _known_part(schema: Node, where: FieldPath) -> FieldPath:
    """A path of the file: pydantic appends the union's branch or `[key]` to it."""
    known = [n for n in range(len(where) + 1) if node_at(schema, where[:n]) is not None]
    parent = node_at(schema, where[: known[-1]]) or {}
    is_mapping = mapping_in(parent) is not None and "[key]" not in where
    return where[: known[-1] + 1] if is_mapping else where[: known[-1]]


def _unknown_key(schema: Node, at: FieldPath) -> str:
    name = str(at[-1])
    allowed = keys_of(node_at(schema, at[:-1]) or {})
    plain = name.lower().replace("-", "_")
    nearest = difflib.get_close_matches(plain, allowed, n=1)
    if plain in allowed:
        return "has no meaning here: take it out"
    homes = [
        part
        for part, node in schema["properties"].items()
        if plain in resolved(schema, node).get("properties", {})
    ]
    if nearest:
        advice = f"; did you mean `{nearest[0]}`?"
    elif homes and len(at) == 1:
        advice = f"; it belongs under `{homes[0]}:`."
    else:
        advice = "."
    return f"unknown key{advice} Allowed here: {', '.join(allowed)}"


def _missing(at: FieldPath, node: Node) -> str:
    examples = node.get("examples")
    advice = f"; add a line such as `{at[-1]}: {examples[0]}`" if examples else ""
    return f"missing: expected {expected(node)}{advice}"


def _value(document: Document, at: FieldPath) -> Any:
    value = document.value
    for name in at:
        if isinstance(value, list) and isinstance(name, int):
            value = value[name]
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def _got(document: Document, at: FieldPath) -> str:
    """The value as the user sees it."""
    value = _value(document, at)
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return document.typed.get(at) or f"the text {json.dumps(value, ensure_ascii=False)}"


def _repair(document: Document, at: FieldPath, node: Node) -> str:
    """What to do, where more can be said than what was expected."""
    value = _value(document, at)
    if not isinstance(value, str):
        return ""
    if at not in document.typed and isinstance(plain_value(value), int | float):
        return "; take the quotes off" if types_of(node) - {"string", "null"} else ""
    if node.get("type") == "boolean" and value.lower() in _OTHER_WORDS:
        return f"; write {_OTHER_WORDS[value.lower()]}"
    nearest = difflib.get_close_matches(value.lower(), node.get("enum", []), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
