"""Schema validation: built-in kinds by their published schemas, custom ones by their CRDs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    import kubernetes_validate

    if not _is_built_in(source.api):
        return
    try:
        kubernetes_validate.validate(source.object, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield _words(error)
    except kubernetes_validate.SchemaNotFoundError:
        yield f"Kubernetes {version} has no {source.kind} in {source.api}"


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
