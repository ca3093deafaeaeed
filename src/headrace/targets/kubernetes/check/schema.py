"""Schema validation: built-in kinds by their published schemas, custom ones by their CRDs."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Any

from headrace.errors import InputError
from headrace.targets.kubernetes.check.crds import Crd
from headrace.targets.kubernetes.check.fitting import Path, clear, misfits, without_nulls
from headrace.targets.kubernetes.check.found import Finding, Source
from headrace.targets.kubernetes.objects import Object

FIX = "see the API reference of the kind"
INSTALL = "pip install 'headrace[kubernetes]'"
NEED_SPEC = (
    *("Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Service", "Ingress"),
    *("PersistentVolumeClaim", "HorizontalPodAutoscaler"),
)
"""Kinds that the API refuses without a spec, though their schemas let it be absent."""


def require() -> None:
    """Raises InputError when the extra is not installed."""
    missing = [name for name in ("cel", "kubernetes_validate") if find_spec(name) is None]
    if missing:
        raise InputError("headrace check needs the kubernetes extra", hint=INSTALL)


@dataclass(frozen=True)
class Judged:
    """What a schema says of an object, and the object as rules may read it (see `fitting`)."""

    problems: list[str]
    source: Source


def check_schemas(
    sources: Iterable[Source], crds: dict[tuple[str, str], Crd], version: str
) -> tuple[list[Finding], list[Source]]:
    """What does not fit its kind's schema, and the objects for the rules.

    `version` is Kubernetes', such as `1.34`.
    """
    findings, fitted = [], []
    for source in sources:
        judged = _judged(source, crds, version)
        fitted.append(judged.source)
        for text in judged.problems:
            where = (source.file, source.line, source.labelled)
            findings.append(Finding("schema", *where, text, FIX))
    return findings, fitted


def unknown(sources: Iterable[Source], crds: dict[tuple[str, str], Crd]) -> list[str]:
    """Kinds that no schema is known of: their objects are checked by rules alone."""
    found = {
        f"{source.api} {source.kind}"
        for source in sources
        if (source.api, source.kind) not in crds and not _is_built_in(source.api)
    }
    return sorted(found)


def _is_built_in(api: str) -> bool:
    """Built-in groups have no dot (`apps`), or are one of those that end in k8s.io."""
    group = api.partition("/")[0] if "/" in api else ""
    return "." not in group or group in _BUILT_IN


_BUILT_IN = frozenset(
    f"{group}.k8s.io"
    for group in (
        *("networking", "storage", "rbac.authorization", "scheduling", "coordination"),
        *("authentication", "authorization", "admissionregistration", "apiextensions"),
        *("apiregistration", "certificates", "discovery", "events", "node", "resource"),
        "flowcontrol.apiserver",
    )
)


def _judged(source: Source, crds: dict[tuple[str, str], Crd], version: str) -> Judged:
    crd = crds.get((source.api, source.kind))
    if crd is not None:
        return _custom(source, crd, version)
    if _is_built_in(source.api):
        return _built_in(source, version)
    related = next((crd for crd in crds.values() if _is_related(crd, source)), None)
    if related is not None:
        return Judged([], _custom(source, related, version).source)
    return Judged([], _foreign(source, version))


def _is_related(crd: Crd, source: Source) -> bool:
    """Whether it is the kind in another version: near enough to know what its fields are."""
    return crd.kind == source.kind and crd.group == source.api.partition("/")[0]


def _built_in(source: Source, version: str) -> Judged:
    validator = _validator(source.api, source.kind, _known_version(version))
    if validator is None:
        text = f"Kubernetes {version} has no {source.kind} in {source.api}"
        return Judged([text], _foreign(source, version))
    errors = list(validator.iter_errors(source.object))
    problems = _worst(errors)
    if source.kind in NEED_SPEC and not source.object.get("spec"):
        problems.append("spec: missing")
    return Judged(problems, _fitted(source, misfits(errors)))


def _custom(source: Source, crd: Crd, version: str) -> Judged:
    made = copy.deepcopy(source.object)
    problems, metadata = crd.problems(made), _metadata_errors(made, version)
    clear(made, crd.misfits(made))
    for at, template in crd.pod_templates(made):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {}, "template": template}
        validator = _validator("v1", "PodTemplate", _known_version(version))
        errors = list(validator.iter_errors(pod))
        problems += [f"{at}: {text.removeprefix('template.')}" for text in _worst(errors)]
        clear(pod, misfits(errors))
    fitted = _fitted(replace(source, object=made), misfits(metadata))
    return Judged([*problems, *_worst(metadata)], fitted)


def _foreign(source: Source, version: str) -> Source:
    """An object of which only the metadata is known."""
    known = {name: source.object.get(name) for name in ("apiVersion", "kind", "metadata")}
    errors = _metadata_errors(source.object, version)
    return replace(_fitted(replace(source, object=known), misfits(errors)), foreign=True)


def _fitted(source: Source, paths: list[Path]) -> Source:
    made = copy.deepcopy(source.object)
    clear(made, paths)
    return replace(source, object=without_nulls(made))


def _metadata_errors(found: Object, version: str) -> list[Any]:
    """Of a kind without a schema of its own: all kinds have the same metadata."""
    alone = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": found["metadata"]}
    validator = _validator("v1", "ConfigMap", _known_version(version))
    return list(validator.iter_errors(alone))


def _worst(errors: list[Any]) -> list[str]:
    """The most telling error in words: the others often follow from it."""
    from jsonschema.exceptions import best_match

    error = best_match(errors)
    return [] if error is None else [_words(error)]


@cache
def _known_version(version: str) -> str:
    """The newest packaged version that is not newer. Raises InputError when there is none."""
    from kubernetes_validate.utils import all_versions

    versions = all_versions()
    try:
        asked = [int(part) for part in version.removeprefix("v").split(".")[:2]]
    except ValueError:
        asked = []
    fitting = [one for one in versions if [int(part) for part in one.split(".")[:2]] <= asked]
    if not fitting or len(asked) != 2:
        raise InputError(
            f"--kubernetes {version}: no schemas of that version",
            hint=f"expected {versions[0].rpartition('.')[0]} or later, such as 1.34",
        )
    return str(fitting[-1])


@cache
def _definitions(version: str) -> Any:
    """What all schemas of a version refer to: megabytes, read once."""
    from kubernetes_validate.utils import schema_contents

    folder = f"kubernetes-json-schema/v{version}-local-strict"
    return schema_contents(f"{folder}/_definitions.json", version)


@cache
def _validator(api: str, kind: str, version: str) -> Any:
    """The strict validator of a kind; None when the version has no such kind."""
    import jsonschema
    from kubernetes_validate.utils import schema_contents
    from referencing import Registry, Resource

    group, _, of_group = api.rpartition("/")
    name = f"{group.partition('.')[0]}-{of_group}" if group else of_group
    file = f"kubernetes-json-schema/v{version}-local-strict/{kind.lower()}-{name}.json"
    try:
        schema = schema_contents(file, version)
    except FileNotFoundError:
        return None
    resources = [Resource.from_contents(part) for part in (schema, _definitions(version))]
    registry: Any = resources @ Registry()
    return jsonschema.Draft202012Validator(schema, registry=registry)


def _words(error: Any) -> str:
    """jsonschema's message with its place, short."""
    at = ".".join(str(part) for part in error.absolute_path)
    text = str(error.message)
    if len(text) > 200:
        text = f"{text[:90]} ... {text[-90:]}"
    return f"{at}: {text}" if at else text
