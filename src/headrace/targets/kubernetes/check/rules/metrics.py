"""Metric names: an alert or an autoscaler on one that vLLM no longer exposes does nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

from headrace.monitoring.metrics import gone_names
from headrace.targets.kubernetes.check.cluster import Cluster
from headrace.targets.kubernetes.check.found import Fault, Source, rule

KINDS = ("HorizontalPodAutoscaler", "ScaledObject", "PrometheusRule", "ConfigMap")


@rule(
    "metric-gone",
    why="The series does not exist: the alert never fires, the autoscaler never scales.",
    fix="use the present name",
)
def metric_gone(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.of(*KINDS):
        for name, instead in gone_names(_text(source)).items():
            hint = f"; read {instead}" if instead else ""
            yield source, f"vLLM no longer exposes {name}{hint}"


def _text(source: Source) -> str:
    part = source.object.get("data") if source.kind == "ConfigMap" else source.spec
    return json.dumps(part or {})
