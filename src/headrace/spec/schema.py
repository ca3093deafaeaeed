"""The fleet file's JSON schema, from which editors complete and check it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from headrace.spec.fleet import Fleet
from headrace.spec.target import KINDS, kind_of

SCHEMA_FILE = Path(__file__).parent / "fleet.schema.json"
"""The published copy; `make docs` writes it, a test keeps it current."""


@cache
def fleet_schema() -> dict[str, Any]:
    """The schema as published. Shared by all callers: do not change it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Fleet.model_json_schema(),
        "title": "Headrace fleet file",
    }


def schema_for(value: Any) -> dict[str, Any]:
    """The schema as it holds for one document: `target` is narrowed to the kind it asks for.

    Where that is no known kind, `kind` is all that a target may have.
    """
    schema = fleet_schema()
    target = value.get("target") if isinstance(value, dict) else None
    kind = kind_of({} if target is None else target)
    known = KINDS.get(kind) if kind else None
    narrow = {"$ref": f"#/$defs/{known.__name__}"} if known else _any_kind()
    return {**schema, "properties": {**schema["properties"], "target": narrow}}


def _any_kind() -> dict[str, Any]:
    return {"type": "object", "properties": {"kind": {"type": "string", "enum": list(KINDS)}}}


def schema_text() -> str:
    """The schema as the published file holds it."""
    import json

    return json.dumps(fleet_schema(), indent=2) + "\n"
