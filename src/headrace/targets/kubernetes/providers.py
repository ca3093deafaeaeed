"""What differs between clusters: node labels, storage classes, and the fabric's libraries.

A difference is a list of JSON patch operations (`add` and `replace`) per object, which kustomize
and `headrace up` apply alike.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headrace.targets.kubernetes.objects import Manifest, Object
from headrace.targets.kubernetes.shape import Shape

Provider = Literal["gke", "eks", "bare-metal"]
PROVIDERS: tuple[Provider, ...] = ("gke", "eks", "bare-metal")

GKE_ACCELERATOR = {
    "A100-40GB": "nvidia-tesla-a100",
    "A100": "nvidia-a100-80gb",
    "L4": "nvidia-l4",
    "H100": "nvidia-h100-80gb",
    "H200": "nvidia-h200-141gb",
    "B200": "nvidia-b200",
    "GB200": "nvidia-gb200",
}
EKS_INSTANCE = {
    "A100-40GB": "p4d.24xlarge",
    "A100": "p4de.24xlarge",
    "H100": "p5.48xlarge",
    "H200": "p5en.48xlarge",
    "B200": "p6-b200.48xlarge",
}
PRODUCT = {
    "A100-40GB": "NVIDIA-A100-SXM4-40GB",
    "A100": "NVIDIA-A100-SXM4-80GB",
    "L4": "NVIDIA-L4",
    "H100": "NVIDIA-H100-80GB-HBM3",
    "H200": "NVIDIA-H200",
    "B200": "NVIDIA-B200",
}
SHARED_CLASS: dict[Provider, str] = {
    "gke": "standard-rwx",
    "eks": "efs-sc",
    "bare-metal": "nfs-client",
}
"""The usual name of a class whose volumes all nodes may mount: Filestore, EFS, an NFS
provisioner.
"""
GIB_PATH = "/usr/local/gib"


@dataclass(frozen=True)
class Patch:
    """Operations on one object."""

    kind: str
    name: str
    operations: Sequence[dict[str, Any]]


def patches(shape: Shape, manifests: Sequence[Manifest], provider: Provider) -> list[Patch]:
    """The differences of one provider."""
    found = [_patch(shape, manifest, provider) for manifest in manifests]
    return [patch for patch in found if patch.operations]


def patched(manifests: Sequence[Manifest], changes: Sequence[Patch]) -> list[Object]:
    """The objects with the patches applied."""
    objects = [copy.deepcopy(manifest.object) for manifest in manifests]
    for patch in changes:
        for found in objects:
            if (found["kind"], found["metadata"]["name"]) == (patch.kind, patch.name):
                for operation in patch.operations:
                    _apply(found, operation)
    return objects


def _patch(shape: Shape, manifest: Manifest, provider: Provider) -> Patch:
    operations: list[dict[str, Any]] = []
    for at in _pod_paths(manifest):
        operations += _node_selector(shape, at, provider)
        if provider == "gke" and manifest.kind == "LeaderWorkerSet":
            operations += _gib(at)
    if _unclassed_shared_claim(manifest.object):
        value = SHARED_CLASS[provider]
        operations.append({"op": "add", "path": "/spec/storageClassName", "value": value})
    return Patch(manifest.kind, manifest.name, operations)


def _pod_paths(manifest: Manifest) -> list[str]:
    """Where pods with GPUs are described."""
    if manifest.kind == "LeaderWorkerSet":
        base = "/spec/leaderWorkerTemplate"
        return [f"{base}/leaderTemplate/spec", f"{base}/workerTemplate/spec"]
    is_replica = manifest.kind == "Deployment" and (
        manifest.object["metadata"]["labels"]["app.kubernetes.io/component"] == "replica"
    )
    return ["/spec/template/spec"] if is_replica else []


def _node_selector(shape: Shape, at: str, provider: Provider) -> list[dict[str, Any]]:
    label, values = {
        "gke": ("cloud.google.com/gke-accelerator", GKE_ACCELERATOR),
        "eks": ("node.kubernetes.io/instance-type", EKS_INSTANCE),
        "bare-metal": ("nvidia.com/gpu.product", PRODUCT),
    }[provider]
    if shape.gpu not in values:
        return []
    return [{"op": "add", "path": f"{at}/nodeSelector", "value": {label: values[shape.gpu]}}]


def _gib(at: str) -> list[dict[str, Any]]:
    """GKE's NCCL over its RDMA network. It breaks NCCL on nodes without it, so that only replicas
    that span nodes get it.
    """
    mount = {"name": "gib", "mountPath": GIB_PATH, "readOnly": True}
    host = {"name": "gib", "hostPath": {"path": "/home/kubernetes/bin/gib", "type": "Directory"}}
    path = {"name": "LD_LIBRARY_PATH", "value": f"{GIB_PATH}/lib64:/usr/local/nvidia/lib64"}
    config = {"name": "NCCL_NET", "value": "gIB"}
    return [
        {"op": "add", "path": f"{at}/containers/0/volumeMounts/-", "value": mount},
        {"op": "add", "path": f"{at}/volumes/-", "value": host},
        {"op": "add", "path": f"{at}/containers/0/env/-", "value": path},
        {"op": "add", "path": f"{at}/containers/0/env/-", "value": config},
    ]


def _unclassed_shared_claim(found: Object) -> bool:
    if found["kind"] != "PersistentVolumeClaim" or "storageClassName" in found["spec"]:
        return False
    return "ReadWriteMany" in found["spec"]["accessModes"]


def _apply(found: Object, operation: dict[str, Any]) -> None:
    """One `add` of a JSON patch: to a mapping, or to a list's end."""
    *parents, last = operation["path"].strip("/").split("/")
    place: Any = found
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    value = copy.deepcopy(operation["value"])
    if isinstance(place, list):
        place.append(value)
    else:
        place[last] = value
