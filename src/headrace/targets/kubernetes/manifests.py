"""All objects of a fleet, by the file that they are written to."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.targets.kubernetes import (
    benchmark,
    envoy,
    monitors,
    network,
    replicas,
    scaling,
    storage,
)
from headrace.targets.kubernetes.objects import Manifest, Object, labels, new
from headrace.targets.kubernetes.shape import Shape

CLONE_FILE = "15-model-clone.yaml"
BENCHMARK_FILE = "benchmark.yaml"


def files(shape: Shape) -> Mapping[str, list[Manifest]]:
    """The manifests by file name, in the order in which they are applied; no file is empty."""
    clone = storage.clone(shape)
    groups = {
        "00-namespace.yaml": [_namespace(shape), _account(shape)],
        "10-model.yaml": storage.storage(shape),
        CLONE_FILE: [clone] if clone else [],
        "20-replicas.yaml": [*replicas.replicas(shape), scaling.budget(shape)],
        "30-network.yaml": [
            *network.services(shape),
            *network.routes(shape),
            *network.network_policy(shape),
        ],
        "40-gateway.yaml": envoy.envoy(shape),
        "41-inference-pool.yaml": network.inference_pool(shape),
        "50-autoscaling.yaml": scaling.autoscaler(shape),
        "60-monitoring.yaml": monitors.monitors(shape),
        BENCHMARK_FILE: benchmark.benchmark(shape),
    }
    return {name: group for name, group in groups.items() if group}


def everything(shape: Shape, *, bench: bool = False) -> list[Manifest]:
    """All objects in order, the benchmark's only when asked for."""
    return [
        manifest
        for name, group in files(shape).items()
        if bench or name != BENCHMARK_FILE
        for manifest in group
    ]


def _namespace(shape: Shape) -> Manifest:
    enforce = "privileged" if shape.target.compile_cache == "node" else "baseline"
    made: Object = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": shape.namespace,
            "labels": {
                **labels(shape, "namespace"),
                "pod-security.kubernetes.io/enforce": enforce,
                "pod-security.kubernetes.io/warn": "restricted",
            },
        },
    }
    return Manifest(made, "The fleet's namespace. `headrace down` leaves it.\n" + quota(shape))


def quota(shape: Shape) -> str:
    """What a ResourceQuota must allow, in words."""
    servers = shape.pods * shape.servers_per_pod
    if shape.target.layout == "leader-worker":
        servers *= shape.target.nodes_per_replica
    gpus = servers * shape.gpus_per_server
    cpus = gpus * shape.target.cpus_per_gpu
    return (
        f"A ResourceQuota must allow requests of {gpus} nvidia.com/gpu, {cpus} CPUs and "
        f"{servers * shape.memory_gib} GiB of memory for the replicas, and "
        f"{envoy.pods(shape) * envoy.WORKERS} CPUs for the gateway."
    )


def _account(shape: Shape) -> Manifest:
    made = new(
        shape,
        "v1",
        "ServiceAccount",
        shape.name,
        "replica",
        {"automountServiceAccountToken": False},
    )
    return Manifest(made, "Who the pods are: nobody to the API, since they never ask it.")
