"""All objects together, as rules ask for them: workloads, who selects whom, who names whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from headrace.targets.kubernetes.check.found import Source
from headrace.targets.kubernetes.objects import EXTERNAL

GPU_SUFFIX = "/gpu"


@dataclass(frozen=True)
class Workload:
    """Pods as some object describes them. A LeaderWorkerSet describes two kinds of pods."""

    source: Source
    pod: dict[str, Any]
    labels: Mapping[str, str]
    selector: Mapping[str, str] | None
    replicas: int

    @property
    def containers(self) -> list[dict[str, Any]]:
        """The containers that run, without those that run before them."""
        return _dicts(self.pod.get("containers"))

    @property
    def all_containers(self) -> list[dict[str, Any]]:
        """Those that run before as well."""
        return [*_dicts(self.pod.get("initContainers")), *self.containers]

    @property
    def volumes(self) -> dict[str, dict[str, Any]]:
        """Volumes by name, those that a StatefulSet claims too."""
        claimed = _dicts(self.source.spec.get("volumeClaimTemplates"))
        named = {str(claim.get("metadata", {}).get("name")): claim for claim in claimed}
        return named | {
            str(volume.get("name")): volume for volume in _dicts(self.pod.get("volumes"))
        }

    @property
    def gpus(self) -> int:
        """GPUs of one pod."""
        return sum(gpus(container) for container in self.containers)

    def claims(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(volume name, `persistentVolumeClaim`) of every claim that is mounted."""
        for name, volume in self.volumes.items():
            if isinstance(volume.get("persistentVolumeClaim"), dict):
                yield name, volume["persistentVolumeClaim"]


class Cluster:
    """What was read, indexed once."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources

    def of(self, *kinds: str) -> list[Source]:
        """All objects of these kinds."""
        return [s for s in self.sources if s.kind in kinds and not s.foreign]

    def find(self, kind: str, name: str, namespace: str) -> Source | None:
        """The object of that kind and name; one that names no namespace may be in any."""
        for source in self.sources:
            if source.kind != kind:
                continue
            same = not namespace or not source.namespace or source.namespace == namespace
            if source.name == name and same:
                return source
        return None

    @cached_property
    def workloads(self) -> list[Workload]:
        """Everything that makes pods."""
        return [workload for source in self.sources for workload in _workloads(source)]

    @cached_property
    def containers(self) -> list[tuple[Workload, dict[str, Any]]]:
        """Every container, those that run before others included, with its workload."""
        return [(made, container) for made in self.workloads for container in made.all_containers]

    def selected(self, selector: Mapping[str, str], namespace: str) -> list[Workload]:
        """The workloads whose pods have these labels; an empty selector selects none here."""
        return [
            workload
            for workload in self.workloads
            if selector
            and selector.items() <= workload.labels.items()
            and (not namespace or workload.source.namespace in ("", namespace))
        ]

    def matching(self, selector: Mapping[str, Any] | None, namespace: str) -> list[Workload]:
        """The workloads whose pods a LabelSelector matches; an empty one matches all."""
        return [
            workload
            for workload in self.workloads
            if selector is not None
            and matches(selector, workload.labels)
            and (not namespace or workload.source.namespace in ("", namespace))
        ]

    def external(self, source: Source, kind: str, name: str) -> bool:
        """Whether the object says that this one is somewhere else."""
        annotations = source.object["metadata"].get("annotations") or {}
        named = str(annotations.get(EXTERNAL, "")).split(",")
        return f"{kind}/{name}" in [word.strip() for word in named]


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector matches: all of its labels, and all of its expressions."""
    wanted = selector.get("matchLabels") or {}
    expressions = _dicts(selector.get("matchExpressions"))
    return wanted.items() <= labels.items() and all(_holds(one, labels) for one in expressions)


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression.get("key"), expression.get("values") or []
    match expression.get("operator"):
        case "In":
            return labels.get(str(key)) in values
        case "NotIn":
            return labels.get(str(key)) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def gpus(container: Mapping[str, Any]) -> int:
    """GPUs that a container asks for, whoever makes them."""
    asked = container.get("resources") or {}
    found = [
        _whole(count)
        for part in ("limits", "requests")
        for name, count in (asked.get(part) or {}).items()
        if str(name).endswith(GPU_SUFFIX)
    ]
    return max(found, default=0)


def _whole(count: Any) -> int:
    """A count of devices; what is none counts as none, and is a schema's or the API's to refuse."""
    return int(count) if str(count).isdecimal() else 0


def _workloads(source: Source) -> Iterator[Workload]:
    spec = source.spec
    if source.foreign:
        return
    if source.kind == "Pod":
        labels = source.object["metadata"].get("labels") or {}
        yield Workload(source, spec, labels, None, 1)
    elif source.kind == "CronJob":
        template = spec.get("jobTemplate", {}).get("spec", {}).get("template", {})
        yield _workload(source, template, 1)
    elif source.kind == "Job":
        yield _workload(source, spec.get("template", {}), int(spec.get("parallelism") or 1))
    elif source.kind in ("Deployment", "StatefulSet", "ReplicaSet", "DaemonSet"):
        yield _workload(source, spec.get("template", {}), _replicas(source))
    elif source.kind == "LeaderWorkerSet":
        yield from _leader_worker(source)


def _replicas(source: Source) -> int:
    """DaemonSets and autoscaled Deployments have several pods, whatever is written."""
    if source.kind == "DaemonSet":
        return 2
    replicas = source.spec.get("replicas", 1)
    return replicas if isinstance(replicas, int) else 1


def _leader_worker(source: Source) -> Iterator[Workload]:
    group = source.spec.get("leaderWorkerTemplate") or {}
    pods = _replicas(source) * int(group.get("size") or 1)
    for part in ("leaderTemplate", "workerTemplate"):
        if isinstance(group.get(part), dict):
            yield _workload(source, group[part], pods)


def _workload(source: Source, template: dict[str, Any], replicas: int) -> Workload:
    labels = (template.get("metadata") or {}).get("labels") or {}
    selector = source.spec.get("selector")
    wanted = selector.get("matchLabels") if isinstance(selector, dict) else None
    return Workload(source, template.get("spec") or {}, labels, wanted, replicas)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value or [] if isinstance(item, dict)]
