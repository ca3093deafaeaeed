"""The fleet file's JSON schema, from which editors complete and check it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from headrace.spec.fleet import Fleet

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


def schema_text() -> str:
    """The schema as the published file holds it."""
    import json

    return json.dumps(fleet_schema(), indent=2) + "\n"
