"""Schema validation: built-in kinds by their published schemas, custom ones by their CRDs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

from headrace.errors import InputError
from headrace.targets.kubernetes.check.crds import Crd
from headrace.targets.kubernetes.check.found import Finding, Source

FIX = "see the API reference of the kind"
INSTALL = "pip install 'headrace[kubernetes]'"


def require() -> None:
    """Raises InputError when the extra is not installed."""
    missing = [name for name in ("cel", "kubernetes_validate") if find_spec(name) is None]
    if missing:
        raise InputError("headrace check needs the kubernetes extra", hint=INSTALL)


def check_schemas(
    sources: Iterable[Source], crds: dict[tuple[str, str], Crd], version: str
) -> Iterator[Finding]:
    """What does not fit its kind's schema. `version` is Kubernetes', such as `1.34`."""
    for source in sources:
        crd = crds.get((source.api, source.kind))
        problems = _custom(source, crd, version) if crd else _built_in(source, version)
        for message in problems:
            yield Finding("schema", source.file, source.line, source.labelled, message, FIX)


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


def _built_in(source: Source, version: str) -> Iterator[str]:
    from jsonschema.exceptions import best_match

    if not _is_built_in(source.api):
        return
    validator = _validator(source.api, source.kind, _known_version(version))
    if validator is None:
        yield f"Kubernetes {version} has no {source.kind} in {source.api}"
    else:
        error = best_match(validator.iter_errors(source.object))
        if error is not None:
            yield _words(error)


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


def _custom(source: Source, crd: Crd, version: str) -> Iterator[str]:
    yield from crd.problems(source.object)
    for at, template in crd.pod_templates(source.object):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {}, "template": template}
        for message in _built_in(Source(pod, source.file, source.line), version):
            yield f"{at}: {message.removeprefix('template.')}"


def _words(error: Any) -> str:
    """jsonschema's message with its place, short."""
    at = ".".join(str(part) for part in error.absolute_path)
    text = str(error.message)
    if len(text) > 200:
        text = f"{text[:90]} ... {text[-90:]}"
    return f"{at}: {text}" if at else text
