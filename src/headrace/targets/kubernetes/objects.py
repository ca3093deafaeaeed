"""What every object has: kind, name, labels that say whose it is, and comments for its reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.targets.kubernetes.shape import Shape

Object = dict[str, Any]
"""One Kubernetes object as plain data."""

MANAGER = "headrace"
MANAGED_BY = "app.kubernetes.io/managed-by"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
TRACK = "headrace.dev/track"
"""stable, canary, prefill or decode."""
EXTERNAL = "headrace.dev/external"
"""`Kind/name` of objects that others make, comma-separated."""
PLANNED_LOAD = "headrace.dev/planned-load-seconds"


@dataclass(frozen=True)
class Manifest:
    """An object and what its file says about it.

    `notes` are comments by dotted path (`spec.replicas`, `spec.ports.0`), shown on that line.
    """

    object: Object
    text: str
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The object's kind."""
        return str(self.object["kind"])

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.object["metadata"]["name"])


def labels(shape: Shape, component: str, **more: str) -> dict[str, str]:
    """The labels of an object; those of `selector` are among them."""
    return {
        "app.kubernetes.io/name": "vllm" if component == "replica" else component,
        INSTANCE: shape.name,
        COMPONENT: component,
        "app.kubernetes.io/part-of": "headrace",
        MANAGED_BY: MANAGER,
        **more,
    }


def selector(shape: Shape, component: str, **more: str) -> dict[str, str]:
    """The labels by which pods are found: few, and never changed."""
    return {INSTANCE: shape.name, COMPONENT: component, **more}


def new(
    shape: Shape, api: str, kind: str, name: str, component: str, body: Mapping[str, Any]
) -> Object:
    """An object of the fleet's namespace."""
    metadata = {
        "name": name,
        "namespace": shape.namespace,
        "labels": labels(shape, component),
    }
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **body}
