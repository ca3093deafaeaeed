"""Apply a fleet, watch it come up, take it down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headrace.errors import HeadraceError
from headrace.targets.deployment import Replica
from headrace.targets.kubernetes.live.api import Api, ApiError
from headrace.targets.kubernetes.live.kinds import JOB, KINDS, POD, SHARED, VOLUMES, kind_of
from headrace.targets.kubernetes.live.owned import is_ours, is_shared, refuse_if_foreign, selector
from headrace.targets.kubernetes.live.pods import replica, trouble
from headrace.targets.kubernetes.live.state import (
    ClusterState,
    pod_selector,
    read_state,
    state_of,
    wanted_pods,
)
from headrace.targets.kubernetes.manifests import everything
from headrace.targets.kubernetes.objects import Object
from headrace.targets.kubernetes.providers import patched, patches
from headrace.targets.kubernetes.shape import Shape

Say = Callable[[str], None]
OnChange = Callable[[ClusterState], None]

POLL_S = 2.0
DOWNLOAD_S = 4 * 3600
SCHEDULE_S = 1800
"""How long pods may wait for nodes and images beyond the startup budget."""
LOST_WATCHES = 5
"""Watches in a row that may break before it is called a failure."""
STORAGE_KINDS = ("Namespace", "ServiceAccount", "StorageClass", "PersistentVolumeClaim")


@dataclass(frozen=True)
class Phases:
    """What is applied first, and what when the model is there."""

    storage: list[Object]
    rest: list[Object]
    download: str | None


def objects(shape: Shape) -> list[Object]:
    """Everything as this cluster's kind needs it, in the order of `apply`."""
    manifests = everything(shape)
    provider = shape.target.provider
    if provider == "generic":
        return [manifest.object for manifest in manifests]
    return patched(manifests, patches(shape, manifests, provider))


def phases(shape: Shape) -> Phases:
    """The download first, since a clone of an empty disk stays empty."""
    job = None if shape.target.storage.kind == "existing" else f"{shape.name}-download"
    first: list[Object] = []
    rest: list[Object] = []
    for found in objects(shape):
        is_first = _is_storage(found) or found["metadata"]["name"] == job
        (first if is_first and job else rest).append(found)
    return Phases(first, rest, job)


def up(
    api: Api, shape: Shape, *, say: Say, on_change: OnChange, force: bool = False
) -> ClusterState:
    """Apply everything and return when every replica is ready.

    Raises InputError before anything is changed when an object of somebody else has a name that
    the fleet needs. HeadraceError says why a pod does not come up; what was applied stays.
    """
    plan = phases(shape)
    for found in [*plan.storage, *plan.rest]:
        _refuse_foreign(api, found, shape)
    _apply(api, plan.storage, shape, say, force)
    if plan.download:
        _wait_for_download(api, shape, plan.download, say)
    _apply(api, plan.rest, shape, say, force)
    return _wait_ready(api, shape, on_change)


def down(api: Api, shape: Shape, *, volumes: bool, say: Say, on_change: OnChange) -> list[str]:
    """Remove what Headrace made for the fleet; returns what was left, and is not volumes.

    Replicas drain: it returns when their pods are gone. The namespace always stays.
    """
    left = []
    for kind in reversed(KINDS):
        if kind.name in SHARED or (kind.name in VOLUMES and not volumes):
            continue
        for found in api.list(kind, shape.namespace, selector(shape.name))[0]:
            found = {"apiVersion": kind.api, "kind": kind.name, **found}
            name = str(found["metadata"]["name"])
            if not is_ours(found, shape.name):
                left.append(f"{kind.name}/{name}")
                continue
            say(f"removing {kind.name}/{name}")
            api.delete(kind, shape.namespace, name)
    _wait_gone(api, shape, on_change)
    return left


def _is_storage(found: Object) -> bool:
    if "dataSource" in found.get("spec", {}):
        return False
    names_script = found["kind"] == "ConfigMap" and "download_model.py" in found["data"]
    return found["kind"] in STORAGE_KINDS or names_script


def _refuse_foreign(api: Api, found: Object, shape: Shape) -> None:
    if is_shared(found):
        return
    there = api.get(kind_of(found), shape.namespace, found["metadata"]["name"])
    if there is not None:
        refuse_if_foreign({"kind": found["kind"], **there}, shape.name)


def _apply(api: Api, found: list[Object], shape: Shape, say: Say, force: bool) -> None:
    for one in found:
        name = f"{one['kind']}/{one['metadata']['name']}"
        if is_shared(one) and api.get(kind_of(one), "", one["metadata"]["name"]):
            continue
        say(f"applying {name}")
        try:
            api.apply(one, force=force)
        except ApiError as failure:
            if one["kind"] != "Job" or failure.status != 422:
                raise
            _replace_job(api, one, shape)


def _replace_job(api: Api, job: Object, shape: Shape) -> None:
    """A Job's pods cannot be changed: a new revision of the model is a new Job."""
    name = job["metadata"]["name"]
    api.delete(JOB, shape.namespace, name)
    while api.get(JOB, shape.namespace, name) is not None:
        time.sleep(POLL_S)
    api.apply(job)


def _wait_for_download(api: Api, shape: Shape, name: str, say: Say) -> None:
    deadline = time.monotonic() + DOWNLOAD_S
    labels = f"batch.kubernetes.io/job-name={name}"
    while time.monotonic() < deadline:
        job = api.get(JOB, shape.namespace, name)
        conditions = ((job or {}).get("status") or {}).get("conditions") or []
        for condition in conditions:
            if condition.get("status") == "True" and condition["type"] == "Complete":
                return
            if condition.get("status") == "True" and condition["type"] == "Failed":
                raise _no_model(shape, name, str(condition.get("message", "it failed")))
        pods, _ = api.list(POD, shape.namespace, labels)
        for pod in pods:
            reason = trouble(pod)
            if reason:
                raise _no_model(shape, name, reason)
        doing = next((replica(pod).detail for pod in pods if replica(pod).detail), "downloading")
        say(f"model: {doing}")
        time.sleep(POLL_S)
    raise _no_model(shape, name, f"not done after {DOWNLOAD_S // 3600} hours")


def _no_model(shape: Shape, name: str, why: str) -> HeadraceError:
    return HeadraceError(
        f"the model was not downloaded: {why}",
        hint=f"kubectl -n {shape.namespace} logs job/{name}",
    )


def _wait_ready(api: Api, shape: Shape, on_change: OnChange) -> ClusterState:
    deadline = time.monotonic() + shape.startup_budget_s + SCHEDULE_S
    state = read_state(api, shape)
    on_change(state)
    for replicas in _watched(api, shape, deadline):
        now = state_of(shape, replicas, state.gateway)
        if now != state:
            on_change(now)
        state = now
        _raise_if_failed(shape, replicas)
        ready = sum(one.state == "ready" for one in replicas)
        if ready >= wanted_pods(shape) and _rolled_out(api, shape):
            state = read_state(api, shape)
            if state.gateway is None or state.gateway.state == "ready":
                return state
    raise _late(shape, state)


def _watched(api: Api, shape: Shape, deadline: float) -> Iterator[list[Replica]]:
    """The replicas after every change, by list and watch; a broken watch is taken up again."""
    lost = 0
    while time.monotonic() < deadline:
        pods, version = api.list(POD, shape.namespace, pod_selector(shape))
        known = {pod["metadata"]["name"]: pod for pod in pods}
        yield [replica(pod) for pod in known.values()]
        try:
            for event, pod in api.watch(POD, shape.namespace, pod_selector(shape), version):
                lost = 0
                known.pop(pod["metadata"]["name"], None)
                if event != "DELETED":
                    known[pod["metadata"]["name"]] = pod
                yield [replica(one) for one in known.values()]
                if time.monotonic() > deadline:
                    return
        except HeadraceError as failure:
            if isinstance(failure, ApiError) and failure.status == 410:
                continue
            lost += 1
            if lost > LOST_WATCHES or _is_final(failure):
                raise
        time.sleep(POLL_S)


def _is_final(failure: HeadraceError) -> bool:
    return isinstance(failure, ApiError) and failure.status in (401, 403, 404)


def _rolled_out(api: Api, shape: Shape) -> bool:
    """Whether the controllers have seen what was applied and replaced every older pod."""
    found = [
        one
        for kind in KINDS
        if kind.name in ("Deployment", "LeaderWorkerSet")
        for one in api.list(kind, shape.namespace, selector(shape.name))[0]
    ]
    return all(_is_current(one) for one in found)


def _is_current(found: Object) -> bool:
    status = found.get("status") or {}
    wanted = found["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
    return bool(seen and status.get("updatedReplicas", 0) >= wanted)


def _raise_if_failed(shape: Shape, replicas: list[Replica]) -> None:
    failed = [one for one in replicas if one.state == "failed"]
    if failed:
        others = f" (and {len(failed) - 1} others)" if len(failed) > 1 else ""
        raise HeadraceError(
            f"pod {failed[0].id} does not come up{others}: {failed[0].detail}",
            hint=f"kubectl -n {shape.namespace} logs {failed[0].id}, or describe pod; then "
            "headrace down",
        )


def _late(shape: Shape, state: ClusterState) -> HeadraceError:
    ready = sum(one.state == "ready" for one in state.replicas)
    waiting = next((one for one in state.replicas if one.state != "ready"), None)
    why = f"; {waiting.id}: {waiting.detail}" if waiting and waiting.detail else ""
    return HeadraceError(
        f"{ready} of {state.wanted} pods are ready after "
        f"{shape.startup_budget_s + SCHEDULE_S} s{why}",
        hint=f"kubectl -n {shape.namespace} get pods, and events",
    )


def _wait_gone(api: Api, shape: Shape, on_change: OnChange) -> None:
    """Pods end within their grace period; a node that is lost may keep its pods' names longer."""
    deadline = time.monotonic() + shape.grace_s + 60
    while time.monotonic() < deadline:
        state = read_state(api, shape)
        on_change(state)
        if not state.replicas:
            return
        time.sleep(POLL_S)
    names = ", ".join(one.id for one in state.replicas[:3])
    raise HeadraceError(
        f"{len(state.replicas)} pods are still there after {shape.grace_s + 60} s: {names}",
        hint=f"kubectl -n {shape.namespace} describe pod {state.replicas[0].id}",
    )
