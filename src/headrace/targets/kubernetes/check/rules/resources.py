"""GPUs, memory and shared memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from headrace.targets.kubernetes.check.cluster import GPU_SUFFIX, Cluster, gpus
from headrace.targets.kubernetes.check.found import Fault, rule
from headrace.targets.kubernetes.check.server import has_option, option, servers

UNITS = {
    "": 1,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
}


@rule(
    "gpu-request",
    why="GPUs cannot be overcommitted: the API refuses requests that differ from the limits.",
    fix="set the same number of GPUs in limits and requests",
)
def gpu_request(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in cluster.containers:
        asked = container.get("resources") or {}
        limits, requests = asked.get("limits") or {}, asked.get("requests") or {}
        for name in sorted({*limits, *requests}):
            if not str(name).endswith(GPU_SUFFIX):
                continue
            limit, request = limits.get(name), requests.get(name, limits.get(name))
            if str(limit) != str(request):
                yield (
                    workload.source,
                    (
                        f"container {container.get('name')} requests {request} and is limited "
                        f"to {limit} {name}"
                    ),
                )


@rule(
    "request-over-limit",
    why="The API refuses the pods.",
    fix="raise the limit, or lower the request",
)
def request_over_limit(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in cluster.containers:
        asked = container.get("resources") or {}
        limits = asked.get("limits") or {}
        for name, request in (asked.get("requests") or {}).items():
            if name in limits and quantity(request) > quantity(limits[name]):
                yield (
                    workload.source,
                    (
                        f"container {container.get('name')} requests {request} {name}, over "
                        f"its limit of {limits[name]}"
                    ),
                )


@rule(
    "gpu-count",
    why="vLLM does not start: it needs a GPU per tensor- and data-parallel rank.",
    fix="request as many GPUs as tensor-parallel-size × data-parallel-size",
)
def gpu_count(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        ranks = 1
        for name in ("tensor-parallel-size", "data-parallel-size"):
            value = option(container, name) or "1"
            ranks *= int(value) if value.isdigit() else 1
        if gpus(container) and not has_option(container, "nnodes") and gpus(container) != ranks:
            yield (
                workload.source,
                (
                    f"container {container.get('name')} gets {gpus(container)} GPU(s) for {ranks} "
                    "rank(s)"
                ),
            )


@rule(
    "gpu-neighbours",
    why="Without requests, as many pods land on a node as have GPUs, and starve for CPU or are "
    "killed for memory.",
    fix="request CPU and memory: about 8 CPUs and 64 GiB per GPU",
)
def gpu_neighbours(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        for container in workload.containers:
            if not gpus(container):
                continue
            asked = container.get("resources") or {}
            found = {**(asked.get("limits") or {}), **(asked.get("requests") or {})}
            missing = [name for name in ("cpu", "memory") if name not in found]
            if missing:
                yield (
                    workload.source,
                    (
                        f"container {container.get('name')} has GPUs but requests no "
                        f"{' and no '.join(missing)}"
                    ),
                )


@rule(
    "shared-memory",
    why="A container's /dev/shm holds 64 MB: NCCL and vLLM's workers fail with a bus error.",
    fix="mount an emptyDir with medium: Memory at /dev/shm",
)
def shared_memory(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        mounted = [
            workload.volumes.get(str(mount.get("name")), {})
            for mount in container.get("volumeMounts") or []
            if mount.get("mountPath") == "/dev/shm"
        ]
        memory = [v for v in mounted if (v.get("emptyDir") or {}).get("medium") == "Memory"]
        if not memory and not workload.pod.get("hostIPC"):
            yield workload.source, f"container {container.get('name')} has no /dev/shm of its own"


@rule(
    "fabric-on-one-node",
    why="NCCL fails at start where the node has no such network; one node needs none.",
    fix="set the fabric's NCCL variables only on replicas that span nodes",
)
def fabric_on_one_node(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        names = {str(entry.get("name")) for entry in container.get("env") or []}
        fabric = sorted(names & {"NCCL_NET", "NCCL_TUNER_CONFIG_PATH", "NCCL_IB_HCA"})
        if fabric and not has_option(container, "nnodes"):
            yield workload.source, f"sets {', '.join(fabric)}, and its replicas are on one node"


def quantity(value: Any) -> float:
    """A Kubernetes quantity as a number: `64Gi`, `500m`, `8`."""
    match = re.fullmatch(r"([0-9.]+(?:[eE][0-9]+)?)([A-Za-z]*)", str(value))
    if match is None or match[2] not in UNITS:
        return 0.0
    return float(match[1]) * UNITS[match[2]]
