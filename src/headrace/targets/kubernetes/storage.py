"""The model's volume and the Job that fills it, and the volume of the compile cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace.targets.kubernetes.objects import Manifest, Object, labels, new
from headrace.targets.kubernetes.pods import (
    cache_claim,
    container_security,
    model_claim,
    pod_security,
)
from headrace.targets.kubernetes.shape import MODELS, Shape

SCRIPT = Path(__file__).parent / "scripts" / "download_model.py"
HYPERDISK_CLASS = "headrace-hyperdisk-ml"
CACHE_GIB = 64


def storage(shape: Shape) -> list[Manifest]:
    """Volumes and the download, in the order in which they are needed."""
    kind = shape.target.storage.kind
    found: list[Manifest] = []
    if kind == "hyperdisk-ml" and shape.target.storage.storage_class is None:
        found.append(_hyperdisk_class(shape))
    if kind != "existing":
        found += [_model(shape), _script(shape), _download(shape)]
    if shape.target.compile_cache == "pvc":
        found.append(_cache(shape))
    return found


def clone(shape: Shape) -> Manifest | None:
    """The read-only clone of a Hyperdisk ML; it may be made only when the download is done."""
    if shape.target.storage.kind != "hyperdisk-ml":
        return None
    source = {"kind": "PersistentVolumeClaim", "name": f"{shape.name}-model"}
    made = _claim(shape, model_claim(shape), "ReadOnlyMany", _class(shape), shape.storage_gib)
    made["spec"]["dataSource"] = source
    text = (
        "The read-only clone that every node mounts. Apply it after the download: a clone of an "
        f"empty disk stays empty.\nkubectl -n {shape.namespace} wait --for=condition=complete "
        f"--timeout=2h job/{shape.name}-download"
    )
    return Manifest(made, text)


def _class(shape: Shape) -> str | None:
    storage = shape.target.storage
    if storage.storage_class is None and storage.kind == "hyperdisk-ml":
        return HYPERDISK_CLASS
    return storage.storage_class


def _claim(shape: Shape, name: str, mode: str, storage_class: str | None, gib: int) -> Object:
    spec: dict[str, Any] = {"accessModes": [mode]}
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    spec["resources"] = {"requests": {"storage": f"{gib}Gi"}}
    return new(shape, "v1", "PersistentVolumeClaim", name, "model", {"spec": spec})


def _model(shape: Shape) -> Manifest:
    disk = shape.target.storage.kind == "hyperdisk-ml"
    mode = "ReadWriteOnce" if disk else "ReadWriteMany"
    name = f"{shape.name}-model"
    made = _claim(shape, name, mode, _class(shape), shape.storage_gib)
    text = "The model's weights, downloaded once: replicas mount " + (
        "a read-only clone of this disk." if disk else "this volume read-only on every node."
    )
    notes = {"spec.resources.requests.storage": "two revisions, for a rollout"}
    return Manifest(made, text, notes)


def _cache(shape: Shape) -> Manifest:
    made = _claim(shape, cache_claim(shape), "ReadWriteMany", shape.target.cache_class, CACHE_GIB)
    text = (
        "Compiled kernels and CUDA graphs' caches: kept over restarts and shared, so that only "
        "the first start compiles."
    )
    return Manifest(made, text)


def _hyperdisk_class(shape: Shape) -> Manifest:
    made: Object = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": HYPERDISK_CLASS, "labels": labels(shape, "model")},
        "provisioner": "pd.csi.storage.gke.io",
        "parameters": {
            "type": "hyperdisk-ml",
            "provisioned-throughput-on-create": "2400Mi",
        },
        "volumeBindingMode": "Immediate",
        "reclaimPolicy": "Delete",
    }
    return Manifest(made, "GKE's disk for read-only data that many nodes mount.")


def _script(shape: Shape) -> Manifest:
    data = {"data": {"download_model.py": SCRIPT.read_text(encoding="utf-8")}}
    made = new(shape, "v1", "ConfigMap", f"{shape.name}-download", "model", data)
    return Manifest(made, "What the download runs.")


def _download(shape: Shape) -> Manifest:
    pod: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": shape.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [_downloader(shape)],
        "volumes": [
            {
                "name": "model",
                "persistentVolumeClaim": {"claimName": f"{shape.name}-model"},
            },
            {"name": "script", "configMap": {"name": f"{shape.name}-download"}},
        ],
    }
    spec = {
        "backoffLimit": 4,
        "activeDeadlineSeconds": 4 * 3600,
        "template": {"metadata": {"labels": labels(shape, "model-download")}, "spec": pod},
    }
    made = new(shape, "batch/v1", "Job", f"{shape.name}-download", "model-download", {"spec": spec})
    text = (
        "Downloads the model once and checks every file against the hub's SHA-256. Does nothing "
        "when it is there already; goes on where an interrupted download was. A Job cannot be "
        "changed: before another image or revision is applied by kubectl, delete it (`headrace up` "
        "does)."
    )
    notes = {"spec.backoffLimit": "each try goes on where the last one was"}
    return Manifest(made, text, notes)


def _downloader(shape: Shape) -> Object:
    """The engine's own image: it has huggingface_hub, and nodes have it already."""
    storage = shape.target.storage
    env: list[Object] = [
        {"name": "MODEL", "value": shape.model},
        {"name": "REVISION", "value": storage.revision or ""},
        {"name": "TARGET", "value": shape.model_path},
        {"name": "HOME", "value": "/tmp"},
        {"name": "HF_HUB_DISABLE_TELEMETRY", "value": "1"},
    ]
    if storage.token_secret:
        token = {"secretKeyRef": {"name": storage.token_secret, "key": "token"}}
        env.append({"name": "HF_TOKEN", "valueFrom": token})
    return {
        "name": "download",
        "image": shape.image,
        "command": ["python3", "/script/download_model.py"],
        "env": env,
        "resources": {
            "requests": {"cpu": "4", "memory": "8Gi"},
            "limits": {"memory": "16Gi"},
        },
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "model", "mountPath": MODELS},
            {"name": "script", "mountPath": "/script", "readOnly": True},
        ],
    }
