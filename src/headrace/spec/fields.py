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
    """The node that a `$ref` points to, with what stands beside the `$ref` laid over it.

    So are the branches of a choice. Mappings that one of their keys tells apart become one mapping
    with the keys of all.
    """
    if "anyOf" in node:
        return {**node, "anyOf": [resolved(schema, part) for part in node["anyOf"]]}
    if "discriminator" in node and "oneOf" in node:
        return _merged(node, [resolved(schema, part) for part in node["oneOf"]])
    if "$ref" not in node:
        return node
    target = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


def _merged(node: Node, mappings: list[Node]) -> Node:
    tag = node["discriminator"]["propertyName"]
    names = [mapping["properties"][tag]["const"] for mapping in mappings]
    properties = {
        name: child for mapping in mappings for name, child in mapping["properties"].items()
    }
    properties |= {tag: {"enum": names, "type": "string", "examples": [names[-1]]}}
    return {"type": "object", "properties": properties, "required": [tag], "tag": tag}


def branches(node: Node) -> list[Node]:
    """What may stand here: one thing, or the choices; null, which stands for a field left out."""
    return [part for part in node.get("anyOf", [node]) if part.get("type") != "null"]


def mapping_in(node: Node) -> Node | None:
    """The mapping that may stand here, if one may."""
    return next((part for part in branches(node) if part.get("type") == "object"), None)


def _child(node: Node, name: str | int) -> Node | None:
    if isinstance(name, int):
        lists = [part for part in branches(node) if part.get("type") == "array"]
        return lists[0].get("items") if lists else None
    mapping = mapping_in(node)
    return _entry(mapping, name) if mapping is not None else None


def _entry(node: Node, name: str) -> Node | None:
    child = node.get("properties", {}).get(name, node.get("additionalProperties"))
    return child if isinstance(child, dict) else ({} if child is True else None)


def keys_of(node: Node) -> list[str]:
    """The keys that a mapping may have; empty when any may."""
    mapping = mapping_in(node) or {}
    names = mapping.get("propertyNames", {})
    fixed = [names["const"]] if "const" in names else names.get("enum", [])
    return [*mapping.get("properties", {}), *fixed]


def types_of(node: Node) -> set[str]:
    """The JSON types that a value may have."""
    return {part["type"] for part in node.get("anyOf", [node]) if "type" in part}


def expected(node: Node) -> str:
    """What may stand here, in words: `auto, or a whole number above 0`."""
    examples = {"examples": node.get("examples", [])}
    return ", or ".join(_in_words({**examples, **part}) for part in branches(node))


def _in_words(node: Node) -> str:
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return f"one of {', '.join(node['enum'])}"
    kind = node.get("type")
    if kind == "object":
        keys = keys_of(node)
        return f"a mapping with {', '.join(keys)}" if keys else "a mapping of names to values"
    if kind == "array":
        return f"a list of at least one item, each {_in_words(node['items'])}"
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
    if low is None:
        return ""
    return f" from {low:g} to {high:g}" if high is not None else f" from {low:g}"
