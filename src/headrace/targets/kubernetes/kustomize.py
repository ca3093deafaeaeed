"""The folder of plain manifests: a kustomize base, and an overlay for each kind of cluster."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.targets.kubernetes.manifests import BENCHMARK_FILE, CLONE_FILE, everything, files
from headrace.targets.kubernetes.providers import PROVIDERS, Provider, patches
from headrace.targets.kubernetes.shape import Shape
from headrace.targets.kubernetes.text import comment, document, dump

KUSTOMIZATION = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
_ABOUT = {
    "gke": "Google Kubernetes Engine: its accelerator labels and Filestore.",
    "eks": "Amazon EKS: its instance types and EFS.",
    "bare-metal": "Your own nodes: labels of NVIDIA's GPU feature discovery, an NFS provisioner.",
}


def tree(shape: Shape) -> Iterator[tuple[str, str]]:
    """(path, text) of every file."""
    groups = files(shape)
    for name, group in groups.items():
        folder = "benchmark" if name == BENCHMARK_FILE else "base"
        yield f"{folder}/{name}", document(group)
    yield "base/kustomization.yaml", _base(list(groups))
    for provider in PROVIDERS:
        yield f"overlays/{provider}/kustomization.yaml", _overlay(shape, provider)


def _base(names: list[str]) -> str:
    resources = [name for name in names if name != BENCHMARK_FILE]
    about = "Everything but the benchmark, in the order in which it is applied."
    if CLONE_FILE in resources:
        resources.remove(CLONE_FILE)
        about += (
            f"\n{CLONE_FILE} is applied by hand when the download is done (`headrace up` waits)."
        )
    return comment(about) + dump({**KUSTOMIZATION, "resources": resources})


def _overlay(shape: Shape, provider: Provider) -> str:
    based = [
        manifest
        for manifest in everything(shape)
        if "dataSource" not in manifest.object.get("spec", {})
    ]
    changes = [
        {"target": {"kind": patch.kind, "name": patch.name}, "patch": dump(list(patch.operations))}
        for patch in patches(shape, based, provider)
    ]
    whole = {**KUSTOMIZATION, "resources": ["../../base"], "patches": changes}
    about = f"{_ABOUT[provider]}\nkubectl apply --server-side -k overlays/{provider}"
    return comment(about) + dump(whole)
