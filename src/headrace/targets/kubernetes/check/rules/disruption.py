"""Rollouts, node drains and disruption budgets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.targets.kubernetes.check.cluster import Cluster, Workload
from headrace.targets.kubernetes.check.found import Fault, rule


@rule(
    "budget-blocks-drain",
    why="No pod may ever be evicted: node drains and upgrades hang until someone forces them.",
    fix="use maxUnavailable: 1 or more",
)
def budget_blocks_drain(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("PodDisruptionBudget"):
        selected = _selected(cluster, source)
        replicas = sum(workload.replicas for workload in selected)
        if selected and _allowed(source.spec, replicas) < 1:
            yield source, f"allows no eviction among its {replicas} pods"


@rule(
    "budget-selects-nothing",
    why="The budget protects nobody: a drain may take all replicas at once.",
    fix="select the labels of the pods",
)
def budget_selects_nothing(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("PodDisruptionBudget"):
        if not _selected(cluster, source):
            yield source, "selects no pod here"


@rule(
    "budget-missing",
    why="A node drain may take every replica at once.",
    fix="add a PodDisruptionBudget that selects the pods",
)
def budget_missing(cluster: Cluster) -> Iterator[Fault]:
    guarded = {
        id(workload)
        for source in cluster.of("PodDisruptionBudget")
        for workload in _selected(cluster, source)
    }
    for workload in cluster.workloads:
        is_fleet = workload.source.kind in ("Deployment", "StatefulSet")
        if is_fleet and workload.gpus and workload.replicas > 1 and id(workload) not in guarded:
            yield workload.source, f"its {workload.replicas} pods have no PodDisruptionBudget"


@rule(
    "surge-needs-gpus",
    why="A rollout waits for GPUs that no node has free, and never ends.",
    fix="set strategy.rollingUpdate.maxSurge to 0 and maxUnavailable to 1 or more",
)
def surge_needs_gpus(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        if workload.source.kind != "Deployment" or not workload.gpus:
            continue
        strategy = workload.source.spec.get("strategy") or {}
        if strategy.get("type") == "Recreate":
            continue
        surge = (strategy.get("rollingUpdate") or {}).get("maxSurge", "25%")
        if surge not in (0, "0", "0%"):
            yield workload.source, f"a rollout adds {surge} pods of {workload.gpus} GPU(s)"


@rule(
    "rollout-stuck",
    why="The API refuses a rollout that may neither add nor remove a pod.",
    fix="set maxUnavailable to 1 or more where maxSurge is 0",
)
def rollout_stuck(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("Deployment"):
        update = (source.spec.get("strategy") or {}).get("rollingUpdate") or {}
        if update.get("maxSurge") in (0, "0%") and update.get("maxUnavailable") in (0, "0%"):
            yield source, "maxSurge and maxUnavailable are both 0"


def _selected(cluster: Cluster, source: Any) -> list[Workload]:
    return cluster.matching(source.spec.get("selector"), source.namespace)


def _allowed(spec: dict[str, Any], replicas: int) -> float:
    """Pods that may be missing, rounded as the controller rounds them."""
    if "maxUnavailable" in spec:
        return _share(spec["maxUnavailable"], replicas)
    return replicas - _share(spec.get("minAvailable", 0), replicas)


def _share(value: Any, replicas: int) -> float:
    if isinstance(value, str):
        percent = value.removesuffix("%")
        part = replicas * float(percent) / 100 if percent.isdecimal() else 0.0
        return -(-part // 1)
    return float(value)
