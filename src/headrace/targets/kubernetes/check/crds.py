"""Custom resources: structural schemas as an API server applies them, CEL rules included.

The server's order: unknown fields are refused (strict), defaults are filled in, types and bounds
are checked, then the rules. A rule whose expression cannot be evaluated here is left out, never
guessed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import InputError
from headrace.targets.kubernetes.check.fitting import Path as Place
from headrace.targets.kubernetes.check.fitting import misfits

Schema = dict[str, Any]
PACKAGED = Path(__file__).parents[1] / "schemas"
POD_TEMPLATE = "x-headrace-pod-template"
OPEN = "x-kubernetes-preserve-unknown-fields"
RULES = "x-kubernetes-validations"


@dataclass(frozen=True)
class Crd:
    """One version of one custom kind; `schema` is that of its `spec`."""

    group: str
    version: str
    kind: str
    schema: Schema

    @property
    def key(self) -> tuple[str, str]:
        """(apiVersion, kind)."""
        return f"{self.group}/{self.version}", self.kind

    def problems(self, found: dict[str, Any]) -> list[str]:
        """What an API server would refuse in this object, in words."""
        spec = found.get("spec")
        if not isinstance(spec, dict):
            return ["spec: missing"] if self.schema.get("required") else []
        filled = copy.deepcopy(spec)
        _fill(self.schema, filled)
        return [
            *_unknown(self.schema, spec, "spec"),
            *_misfits(self.schema, filled),
            *_broken_rules(self.schema, filled, "spec"),
        ]

    def misfits(self, found: dict[str, Any]) -> list[Place]:
        """Where in the object a value has the wrong type."""
        spec = found.get("spec")
        if not isinstance(spec, dict):
            return [("spec",)]
        errors = _validator(self.schema).iter_errors(spec)
        return [("spec", *path) for path in misfits(errors)]

    def pod_templates(self, found: dict[str, Any]) -> list[tuple[str, Any]]:
        """(path, pod template) wherever the packaged schema leaves one to the built-in schema."""
        spec = found.get("spec")
        return list(_templates(self.schema, spec if isinstance(spec, dict) else {}, "spec"))


@cache
def packaged() -> dict[tuple[str, str], Crd]:
    """The kinds that Headrace renders, by (apiVersion, kind)."""
    found = [_packaged(file) for file in sorted(PACKAGED.glob("*.yaml"))]
    return {crd.key: crd for crd in found}


def from_path(path: Path) -> dict[tuple[str, str], Crd]:
    """CRDs of a file or folder, as projects publish them and `kubectl get crd -o yaml` prints.

    Raises InputError when there are none.
    """
    files = sorted(path.rglob("*.y*ml")) if path.is_dir() else [path]
    try:
        documents = [d for file in files for d in yaml.safe_load_all(file.read_text())]
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {error}", hint="check --crds") from None
    found = {crd.key: crd for document in documents for crd in _definitions(document)}
    if not found:
        raise InputError(
            f"{path}: no CustomResourceDefinition in it",
            hint="save your cluster's: kubectl get crd -o yaml > crds.yaml",
        )
    return found


def _packaged(file: Path) -> Crd:
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    return Crd(document["group"], document["version"], document["kind"], document["schema"])


def _definitions(document: Any) -> Iterator[Crd]:
    if not isinstance(document, dict):
        return
    if str(document.get("kind", "")).endswith("List"):
        for item in document.get("items") or []:
            yield from _definitions(item)
    if document.get("kind") != "CustomResourceDefinition":
        return
    spec = document["spec"]
    for version in spec["versions"]:
        whole = version.get("schema", {}).get("openAPIV3Schema", {})
        schema = whole.get("properties", {}).get("spec", {OPEN: True})
        yield Crd(spec["group"], version["name"], spec["names"]["kind"], schema)


def _children(schema: Schema, value: Any, at: str) -> Iterator[tuple[Schema, Any, str]]:
    """The parts of a value with their schemas."""
    if isinstance(value, dict):
        properties, other = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, child in value.items():
            inner = properties.get(key, other if isinstance(other, dict) else None)
            if inner is not None:
                yield inner, child, f"{at}.{key}"
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for number, child in enumerate(value):
            yield schema["items"], child, f"{at}[{number}]"


def _unknown(schema: Schema, value: Any, at: str) -> Iterator[str]:
    closed = "properties" in schema and not schema.get(OPEN)
    if closed and isinstance(value, dict) and "additionalProperties" not in schema:
        for key in value:
            if key not in schema["properties"]:
                yield f"{at}.{key}: unknown field"
    for inner, child, where in _children(schema, value, at):
        yield from _unknown(inner, child, where)


def _fill(schema: Schema, value: Any) -> None:
    """Defaults, as the server fills them in before it checks anything."""
    if isinstance(value, dict):
        for key, inner in (schema.get("properties") or {}).items():
            if key not in value and "default" in inner:
                value[key] = copy.deepcopy(inner["default"])
    for inner, child, _ in _children(schema, value, ""):
        _fill(inner, child)


def _misfits(schema: Schema, value: Any) -> Iterator[str]:
    for error in _validator(schema).iter_errors(value):
        at = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
        )
        yield f"spec{at}: {error.message}"


def _validator(schema: Schema) -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(_as_json_schema(schema))


def _as_json_schema(schema: Any) -> Any:
    """The server's int-or-string and Go patterns in JSON Schema's words."""
    if isinstance(schema, list):
        return [_as_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _as_json_schema(item) for key, item in schema.items() if key != RULES}
    if made.pop("x-kubernetes-int-or-string", False):
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
        made.pop("format", None)
    if made.pop("nullable", False) and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    if isinstance(made.get("pattern"), str):
        made["pattern"] = made["pattern"].replace("^(?i)", "(?i)^")
    return made


def _broken_rules(schema: Schema, value: Any, at: str) -> Iterator[str]:
    for rule in schema.get(RULES) or []:
        expression = rule["rule"]
        if "oldSelf" not in expression and _holds(expression, value) is False:
            yield f"{at}: {rule.get('message') or 'breaks the rule ' + expression}"
    for inner, child, where in _children(schema, value, at):
        yield from _broken_rules(inner, child, where)


def _holds(expression: str, value: Any) -> bool | None:
    """Whether a CEL rule holds; None when it cannot be evaluated."""
    import cel

    try:
        result = cel.evaluate(expression, {"self": value})
    except Exception:
        return None
    return result if isinstance(result, bool) else None


def _templates(schema: Schema, value: Any, at: str) -> Iterator[tuple[str, Any]]:
    if schema.get(POD_TEMPLATE):
        yield at, value
        return
    for inner, child, where in _children(schema, value, at):
        yield from _templates(inner, child, where)
