"""What the JSON schema says of one field, found by its path and put into words."""

from __future__ import annotations

from typing import Any

from headrace.spec.document import FieldPath

Node = dict[str, Any]
"""A part of a JSON schema."""


def node_at(schema: Node, at: FieldPath) -> Node | None:
    """The schema of the field at `at`, or None where the schema has no such field."""
    node: Node | None = schema
    for name in at:
        node = _child(resolved(schema, node), name) if node is not None else None
    return resolved(schema, node) if node is not None else None


def resolved(schema: Node, node: Node) -> Node:
    """The node that a `$ref` points to, with what stands beside the `$ref` laid over it."""
    if "$ref" not in node:
        return node
    target = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


def _child(node: Node, name: str | int) -> Node | None:
    if node.get("type") != "object":
        return None
    child = node.get("properties", {}).get(name, node.get("additionalProperties"))
    return child if isinstance(child, dict) else ({} if child is True else None)


def keys_of(node: Node) -> list[str]:
    """The keys that a mapping may have; empty when any may."""
    names = node.get("propertyNames", {})
    fixed = [names["const"]] if "const" in names else names.get("enum", [])
    return [*node.get("properties", {}), *fixed]


def types_of(node: Node) -> set[str]:
    """The JSON types that a value may have."""
    return {part["type"] for part in node.get("anyOf", [node]) if "type" in part}


def expected(node: Node) -> str:
    """What may stand here, in words: `auto, or a whole number above 0`."""
    parts = [part for part in node.get("anyOf", [node]) if part.get("type") != "null"]
    examples = {"examples": node.get("examples", [])}
    return ", or ".join(_in_words({**examples, **part}) for part in parts)


def _in_words(node: Node) -> str:
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return f"one of {', '.join(node['enum'])}"
    kind = node.get("type")
    if kind == "object":
        keys = keys_of(node)
        return f"a mapping with {', '.join(keys)}" if keys else "a mapping of names to values"
    if kind == "string":
        examples = node.get("examples", [])
        return f"text such as {examples[0]}" if examples else "text"
    words = {"boolean": "true or false", "integer": "a whole number", "number": "a number"}
    return words.get(str(kind), "any value") + _range(node)


def _range(node: Node) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if "exclusiveMinimum" in node:
        return f" above {node['exclusiveMinimum']:g}"
    if "exclusiveMaximum" in node:
        return f" from {low:g} to below {node['exclusiveMaximum']:g}"
    return f" from {low:g} to {high:g}" if low is not None and high is not None else ""
