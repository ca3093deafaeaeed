"""A Helm chart from the same builders: what differs between installations is a value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from headrace import __version__
from headrace.targets.kubernetes.manifests import BENCHMARK_FILE, CLONE_FILE, files
from headrace.targets.kubernetes.objects import Manifest
from headrace.targets.kubernetes.shape import Shape
from headrace.targets.kubernetes.text import comment, document, dump

_OPEN, _CLOSE = "⟦", "⟧"
"""Stand for Helm's braces until the text's own have been escaped."""
_NAMESPACE = f"{_OPEN} .Release.Namespace {_CLOSE}"
_SWITCHES = {"60-monitoring.yaml": "monitoring.enabled", CLONE_FILE: "modelReady"}
"""Files that a value turns on."""


def chart(shape: Shape) -> Iterator[tuple[str, str]]:
    """(path, text) of every file of the chart."""
    yield "chart/Chart.yaml", _chart(shape)
    yield "chart/values.yaml", _values(shape)
    for name, group in files(_templated(shape)).items():
        if name == BENCHMARK_FILE:
            continue
        manifests = [m for m in group if m.kind != "Namespace"]
        yield f"chart/templates/{name}", _template(shape, name, manifests)


def _templated(shape: Shape) -> Shape:
    """The fleet with values where an installation may differ."""
    target = shape.target.model_copy(
        update={
            "namespace": _NAMESPACE,
            "gateway_image": f"{_OPEN} .Values.gatewayImage {_CLOSE}",
        }
    )
    return replace(shape, target=target, image=f"{_OPEN} .Values.image {_CLOSE}")


def _template(shape: Shape, name: str, manifests: list[Manifest]) -> str:
    text = document([_with_values(shape, manifest) for manifest in manifests])
    text = text.replace("{{", '{{ "{{" }}').replace(_OPEN, "{{").replace(_CLOSE, "}}")
    switch = _SWITCHES.get(name)
    return f"{{{{- if .Values.{switch} }}}}\n{text}{{{{- end }}}}\n" if switch else text


def _with_values(shape: Shape, manifest: Manifest) -> Manifest:
    """Replicas, node labels and storage classes as values."""
    spec = dict(manifest.object.get("spec", {}))
    notes = dict(manifest.notes)
    component = manifest.object["metadata"]["labels"]["app.kubernetes.io/component"]
    if manifest.kind == "Deployment" and manifest.name == shape.name and "replicas" in spec:
        spec["replicas"] = f"{_OPEN} .Values.replicas {_CLOSE}"
    if manifest.kind == "Deployment" and component == "replica":
        inner = dict(spec["template"]["spec"])
        inner["nodeSelector"] = f"{_OPEN}- toYaml .Values.nodeSelector | nindent 8 {_CLOSE}"
        spec["template"] = {**spec["template"], "spec": inner}
    if manifest.kind == "PersistentVolumeClaim" and "storageClassName" not in spec:
        spec["storageClassName"] = f"{_OPEN} .Values.storageClass {_CLOSE}"
    made = {**manifest.object, "spec": spec} if spec else manifest.object
    return replace(manifest, object=made, notes=notes)


def _chart(shape: Shape) -> str:
    about = {
        "apiVersion": "v2",
        "name": shape.name,
        "description": f"{shape.model} on {shape.gpu}, planned by Headrace {__version__}",
        "type": "application",
        "version": __version__,
        "appVersion": shape.version,
    }
    return dump(about)


def _values(shape: Shape) -> str:
    """What an installation may change; everything else is the plan's."""
    target = shape.target
    rows: list[tuple[str, str, object]] = [
        ("Image with vLLM, by digest.", "image", shape.image),
        ("Envoy, by digest.", "gatewayImage", target.gateway_image),
        ("Pods of the replicas, as planned.", "replicas", shape.pods),
        ("Labels of the nodes that the replicas run on.", "nodeSelector", {}),
        (
            "Storage class of volumes that all nodes mount; empty: none.",
            "storageClass",
            target.storage.storage_class or "",
        ),
        (
            "PodMonitor, PrometheusRule and dashboard (Prometheus operator).",
            "monitoring",
            {"enabled": target.monitoring},
        ),
    ]
    if target.storage.kind == "hyperdisk-ml":
        rows.append(("Set it when the download is done: makes the clone.", "modelReady", False))
    return "".join(comment(text) + dump({key: value}) for text, key, value in rows)
