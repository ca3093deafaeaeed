"""Secrets: by reference, never as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from headrace.targets.kubernetes.check.cluster import Cluster, Workload
from headrace.targets.kubernetes.check.found import Fault, rule
from headrace.targets.kubernetes.check.server import words

SECRET_NAME = re.compile(r"(^|_)(API_?KEYS?|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE)
SECRET_OPTION = re.compile(r"^--(api-key|hf-token|token|password)(=|$)")


@rule(
    "secret-as-text",
    why="Whoever reads the manifest, the pod's description or the repository reads the secret.",
    fix="use valueFrom.secretKeyRef",
)
def secret_as_text(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in cluster.containers:
        for entry in container.get("env") or []:
            name = str(entry.get("name"))
            if SECRET_NAME.search(name) and entry.get("value"):
                yield workload.source, f"container {container.get('name')} has {name} as text"


@rule(
    "secret-in-command",
    why="A command line is seen by every process of the node and in the pod's description.",
    fix="pass it by an environment variable from a Secret (VLLM_API_KEY, HF_TOKEN)",
)
def secret_in_command(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in cluster.containers:
        for word in words(container):
            if SECRET_OPTION.match(word):
                option = word.partition("=")[0]
                yield workload.source, f"container {container.get('name')} is given {option}"


@rule(
    "secret-in-manifest",
    why="A Secret in a repository is read by everyone who reads the repository.",
    fix="make it with kubectl, an operator for external secrets, or sealed",
)
def secret_in_manifest(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("Secret"):
        if source.object.get("data") or source.object.get("stringData"):
            yield source, "holds its values in the manifest"


@rule(
    "secret-key",
    why="The pods fail with CreateContainerConfigError: the Secret has no such key.",
    fix="name a key that the Secret has",
)
def secret_key(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        for name, key in _references(workload):
            secret = cluster.find("Secret", name, workload.source.namespace)
            if secret is None:
                continue
            parts = (secret.object.get("data") or {}, secret.object.get("stringData") or {})
            if not any(key in part for part in parts):
                yield workload.source, f"asks the Secret {name!r} for the key {key!r}"


def _references(workload: Workload) -> Iterator[tuple[str, str]]:
    for container in workload.all_containers:
        for entry in container.get("env") or []:
            found: Any = (entry.get("valueFrom") or {}).get("secretKeyRef")
            if isinstance(found, dict) and not found.get("optional"):
                yield str(found.get("name")), str(found.get("key"))
