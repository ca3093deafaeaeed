"""Loading: the model, the time it takes, and what is kept of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from headrace.targets.kubernetes.check.cluster import Cluster, Workload
from headrace.targets.kubernetes.check.found import Fault, rule
from headrace.targets.kubernetes.check.server import has_option, model_of, option, servers
from headrace.targets.kubernetes.objects import PLANNED_LOAD

MIN_BUDGET_S = 600
COMMIT = re.compile(r"^[0-9a-f]{40}$")


@rule(
    "startup-probe",
    why="The liveness probe kills the server while it loads, again and again.",
    fix="add a startupProbe on /health that allows for the load time",
)
def startup_probe(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        if "startupProbe" not in container:
            yield workload.source, f"container {container.get('name')} has no startupProbe"


@rule(
    "startup-budget",
    why="The server is killed before it has loaded: a large model takes many minutes.",
    fix="raise startupProbe.failureThreshold: periodSeconds × failureThreshold is the budget",
)
def startup_budget(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        probe = container.get("startupProbe")
        if not isinstance(probe, dict):
            continue
        tries, period_s = probe.get("failureThreshold", 3), probe.get("periodSeconds", 10)
        budget_s = tries * period_s + probe.get("initialDelaySeconds", 0)
        annotations = workload.source.object["metadata"].get("annotations") or {}
        planned_s = _seconds(annotations.get(PLANNED_LOAD, ""))
        needed_s = max(MIN_BUDGET_S, planned_s)
        if budget_s < needed_s:
            why = (
                f"it is planned to load in {planned_s:g} s"
                if planned_s > MIN_BUDGET_S
                else ("models of tens of GB take minutes")
            )
            yield (
                workload.source,
                (
                    f"container {container.get('name')} may load for {budget_s:g} s; expected "
                    f"{needed_s:g} s or more: {why}"
                ),
            )


@rule(
    "model-per-pod",
    why="Every pod downloads the model again: slow starts, and the hub's rate limit at a rollout.",
    fix="download it once into a volume, serve its path, and set HF_HUB_OFFLINE=1",
)
def model_per_pod(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        model = model_of(container)
        if model and _is_hub_id(model) and workload.replicas > 1:
            yield workload.source, f"{workload.replicas} pods each download {model}"


@rule(
    "model-revision",
    why="The hub's main branch may change between two starts: replicas then serve two models.",
    fix="name the commit (--revision, or the download's REVISION): `headrace pin` writes it into a "
    "fleet file",
)
def model_revision(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        model = model_of(container)
        revision = option(container, "revision") or ""
        if model and _is_hub_id(model) and not COMMIT.match(revision):
            yield workload.source, f"serves {model} at no fixed revision"
    for workload, container in cluster.containers:
        env = _values(container)
        is_download = {"MODEL", "REVISION", "TARGET"} <= set(env)
        if is_download and not COMMIT.match(env["REVISION"]):
            yield workload.source, f"downloads {env['MODEL']} at no fixed revision"


@rule(
    "model-offline",
    why="The server asks the hub at every start although the model is there; without network it "
    "hangs.",
    fix="set HF_HUB_OFFLINE=1",
)
def model_offline(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        model = model_of(container) or ""
        if model.startswith("/") and _values(container).get("HF_HUB_OFFLINE") != "1":
            yield workload.source, f"serves {model} from a volume, without HF_HUB_OFFLINE=1"


@rule(
    "compile-cache",
    why="Every restart compiles again, for minutes.",
    fix="point VLLM_CACHE_ROOT at a volume that outlives the pod (a claim, or hostPath)",
)
def compile_cache(cluster: Cluster) -> Iterator[Fault]:
    for workload, container in servers(cluster):
        if has_option(container, "enforce-eager"):
            continue
        root = _values(container).get("VLLM_CACHE_ROOT")
        if root is None or not _kept(workload, container, root):
            where = root or "~/.cache/vllm"
            yield workload.source, f"its compile cache ({where}) is lost with the pod"


def _kept(workload: Workload, container: dict[str, Any], path: str) -> bool:
    best: tuple[int, dict[str, Any]] = (0, {})
    for mount in container.get("volumeMounts") or []:
        at = str(mount.get("mountPath"))
        if f"{path}/".startswith(f"{at.rstrip('/')}/") and len(at) > best[0]:
            best = (len(at), workload.volumes.get(str(mount.get("name")), {}))
    return bool(best[1]) and "emptyDir" not in best[1]


def _is_hub_id(model: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", model))


def _values(container: dict[str, Any]) -> dict[str, str]:
    return {str(e.get("name")): str(e.get("value", "")) for e in container.get("env") or []}


def _seconds(text: str) -> float:
    """An annotation's figure; nothing where it is none."""
    return float(text) if text.isdecimal() else 0.0
