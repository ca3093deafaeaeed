"""Volumes: declared, shared and mounted as their access modes allow."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.targets.kubernetes.check.cluster import Cluster, Workload
from headrace.targets.kubernetes.check.found import Fault, Source, rule


@rule(
    "volume-undeclared",
    why="The API refuses the pods.",
    fix="declare the volume, or correct the name",
)
def volume_undeclared(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in cluster.containers:
        for mount in container.get("volumeMounts") or []:
            if mount.get("name") not in workload.volumes:
                yield (
                    workload.source,
                    (
                        f"container {container.get('name')} mounts the volume "
                        f"{mount.get('name')!r}, which is not declared"
                    ),
                )


@rule(
    "mount-path-twice",
    why="The API refuses two volumes at one path.",
    fix="mount one of them elsewhere",
)
def mount_path_twice(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in cluster.containers:
        paths = [mount.get("mountPath") for mount in container.get("volumeMounts") or []]
        for path in sorted({str(path) for path in paths if paths.count(path) > 1}):
            yield workload.source, f"container {container.get('name')} mounts {path} twice"


@rule(
    "claim-missing",
    why="The pods wait forever for a volume that nobody makes.",
    fix="add the PersistentVolumeClaim, or name it in the annotation headrace.dev/external",
)
def claim_missing(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        for _, claim in workload.claims():
            name = str(claim.get("claimName"))
            known = _claim(cluster, workload.source, name)
            if not known and not cluster.external(workload.source, "PersistentVolumeClaim", name):
                yield workload.source, f"mounts the claim {name!r}, which is not here"


@rule(
    "claim-on-one-node",
    why="A ReadWriteOnce volume is attached to one node; pods on the others stay pending.",
    fix="use ReadWriteMany, or ReadOnlyMany for a model that is already there",
)
def claim_on_one_node(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        for _, claim in workload.claims():
            found = _claim(cluster, workload.source, str(claim.get("claimName")))
            modes = set(found.spec.get("accessModes") or []) if found else {"?"}
            if workload.replicas > 1 and modes <= {"ReadWriteOnce", "ReadWriteOncePod"}:
                yield (
                    workload.source,
                    (
                        f"{workload.replicas} pods share the claim {claim.get('claimName')!r} "
                        f"({', '.join(sorted(modes))})"
                    ),
                )


@rule(
    "claim-read-only",
    why="A ReadOnlyMany disk cannot be mounted for writing: the pods do not start.",
    fix="set readOnly: true on the claim in volumes and on its mounts",
)
def claim_read_only(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        for volume, claim in workload.claims():
            found = _claim(cluster, workload.source, str(claim.get("claimName")))
            only = found is not None and found.spec.get("accessModes") == ["ReadOnlyMany"]
            if only and not (claim.get("readOnly") or _all_read_only(workload, volume)):
                yield (
                    workload.source,
                    f"mounts the read-only claim {claim.get('claimName')!r} for writing",
                )


def _all_read_only(workload: Workload, volume: str) -> bool:
    mounts = [
        mount
        for container in workload.all_containers
        for mount in container.get("volumeMounts") or []
        if mount.get("name") == volume
    ]
    return bool(mounts) and all(mount.get("readOnly") for mount in mounts)


def _claim(cluster: Cluster, source: Source, name: str) -> Source | None:
    return cluster.find("PersistentVolumeClaim", name, source.namespace)
