"""Images and privileges."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.targets.kubernetes.check.cluster import Cluster
from headrace.targets.kubernetes.check.found import Fault, rule


@rule(
    "image-pinned",
    why="A tag may point to another image tomorrow: replicas of one fleet then differ.",
    fix="name the image by digest, NAME:TAG@sha256:...: `headrace pin` writes it into a fleet "
    "file, `crane digest NAME:TAG` says it",
)
def image_pinned(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in cluster.containers:
        image = str(container.get("image", ""))
        if "@sha256:" not in image and "{{" not in image:
            yield workload.source, f"the image {image!r} is not named by its digest"


@rule(
    "runs-as-root",
    why="Who breaks out of the server is root on the node; clusters with the restricted policy "
    "refuse the pods.",
    fix="set runAsNonRoot: true and a runAsUser",
)
def runs_as_root(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        pod = workload.pod.get("securityContext") or {}
        for container in workload.all_containers:
            merged = {**pod, **(container.get("securityContext") or {})}
            if not merged.get("runAsNonRoot") or merged.get("runAsUser") == 0:
                yield workload.source, f"container {container.get('name')} may run as root"


@rule(
    "privileges",
    why="The container keeps capabilities, or may gain them, that a server never needs.",
    fix="set allowPrivilegeEscalation: false and capabilities.drop: [ALL]",
)
def privileges(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in cluster.containers:
        context = container.get("securityContext") or {}
        dropped = (context.get("capabilities") or {}).get("drop") or []
        safe = context.get("allowPrivilegeEscalation") is False and "ALL" in dropped
        if context.get("privileged") or not safe:
            yield workload.source, f"container {container.get('name')} keeps privileges"


@rule(
    "seccomp",
    why="Every system call of the kernel is open to the container.",
    fix="set seccompProfile.type: RuntimeDefault",
)
def seccomp(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        pod = workload.pod.get("securityContext") or {}
        for container in workload.all_containers:
            merged = {**pod, **(container.get("securityContext") or {})}
            kind = (merged.get("seccompProfile") or {}).get("type")
            if kind not in ("RuntimeDefault", "Localhost"):
                yield workload.source, f"container {container.get('name')} has no seccomp profile"
