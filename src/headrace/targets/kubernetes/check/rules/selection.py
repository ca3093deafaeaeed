"""Selectors: who is meant to find which pods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.targets.kubernetes.check.cluster import Cluster
from headrace.targets.kubernetes.check.found import Fault, rule


@rule(
    "selector-mismatch",
    why="The API refuses a Deployment whose selector does not select its own pods.",
    fix="give the pod template the labels of the selector",
)
def selector_mismatch(cluster: Cluster) -> Iterator[Fault]:
    for workload in cluster.workloads:
        wanted = workload.selector
        if wanted and not wanted.items() <= workload.labels.items():
            missing = ", ".join(
                f"{k}={v}" for k, v in wanted.items() if workload.labels.get(k) != v
            )
            yield workload.source, f"the selector wants {missing}, which its pods do not have"


@rule(
    "selectors-overlap",
    why="Two controllers that select the same pods adopt and delete each other's.",
    fix="add a label that tells them apart to both selectors and templates",
)
def selectors_overlap(cluster: Cluster) -> Iterator[Fault]:
    owners = [w for w in cluster.workloads if w.selector and w.source.kind != "Job"]
    for number, workload in enumerate(owners):
        for other in owners[:number]:
            same = workload.source.namespace == other.source.namespace
            if same and (other.selector or {}).items() <= workload.labels.items():
                yield workload.source, f"its pods are selected by {other.source.labelled} too"


@rule(
    "service-selects-nothing",
    why="The Service has no endpoints: connections are refused.",
    fix="select labels that the pods have",
)
def service_selects_nothing(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("Service"):
        selector = source.spec.get("selector")
        if isinstance(selector, dict) and not cluster.selected(selector, source.namespace):
            yield source, f"no pod here has the labels {_words(selector)}"


@rule(
    "monitor-selects-nothing",
    why="Prometheus scrapes nothing, and alerts stay silent.",
    fix="select labels that the pods (PodMonitor) or Services (ServiceMonitor) have",
)
def monitor_selects_nothing(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("PodMonitor"):
        selector = source.spec.get("selector") or {}
        if selector and not cluster.matching(selector, ""):
            yield source, f"its selector matches no pod here: {_terms(selector)}"


@rule(
    "pool-selects-nothing",
    why="The pool is empty: every request is answered with an error.",
    fix="select labels that the pods have",
)
def pool_selects_nothing(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of("InferencePool"):
        selector = (source.spec.get("selector") or {}).get("matchLabels") or {}
        if not cluster.selected(selector, source.namespace):
            yield source, f"no pod here has the labels {_words(selector)}"


def _terms(selector: dict[str, Any]) -> str:
    """A LabelSelector in words."""
    found = [_words(selector["matchLabels"])] if selector.get("matchLabels") else []
    for one in selector.get("matchExpressions") or []:
        values = ", ".join(map(str, one.get("values") or []))
        found.append(f"{one.get('key')} {one.get('operator')} {values}".rstrip())
    return ", ".join(found)


def _words(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items())
