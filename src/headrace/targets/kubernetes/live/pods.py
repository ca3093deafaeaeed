"""What a pod is doing, in the states of a replica, and why it cannot come up. Pure."""

from __future__ import annotations

from typing import Any

from headrace.targets.deployment import Replica
from headrace.targets.kubernetes.objects import Object

HOPELESS = {
    "CreateContainerConfigError": "a Secret or ConfigMap that it names is missing",
    "CreateContainerError": "the container cannot be created",
    "InvalidImageName": "the image's name is wrong",
    "ErrImageNeverPull": "the image is not on the node",
    "ImagePullBackOff": "the image cannot be pulled",
    "CrashLoopBackOff": "it ends soon after every start",
}
"""Reasons for which waiting longer does not help."""


def replica(pod: Object) -> Replica:
    """A pod as a replica; its id is the pod's name."""
    status = pod.get("status") or {}
    reason = trouble(pod)
    state: Any = "starting"
    if pod["metadata"].get("deletionTimestamp"):
        state = "draining"
    elif reason or status.get("phase") == "Failed":
        state = "failed"
    elif _is_ready(status):
        state = "ready"
    ip = status.get("podIP") or ""
    return Replica(
        id=str(pod["metadata"]["name"]),
        node=str((pod.get("spec") or {}).get("nodeName") or ""),
        url=f"http://{ip}:8000" if ip else "",
        state=state,
        detail=reason or _doing(status),
    )


def trouble(pod: Object) -> str | None:
    """Why a pod will not come up by itself; None while it may."""
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason", ""))
        if reason in HOPELESS:
            return f"{HOPELESS[reason]}: {_last_end(container) or waiting.get('message') or reason}"
    return None


def _last_end(container: dict[str, Any]) -> str | None:
    """How a container ended the last time."""
    ended = (container.get("lastState") or {}).get("terminated")
    if not isinstance(ended, dict):
        return None
    why = f"{ended.get('reason', 'ended')} with exit status {ended.get('exitCode')}"
    return f"{why}: {ended['message'].strip()}" if ended.get("message") else why


def _is_ready(status: dict[str, Any]) -> bool:
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in status.get("conditions") or []
    )


def _doing(status: dict[str, Any]) -> str | None:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"not scheduled: {condition.get('message', 'no node fits')}"
    for container in status.get("containerStatuses") or []:
        state = container.get("state") or {}
        if "waiting" in state:
            return str(state["waiting"].get("reason") or "waiting")
        if "running" in state and not container.get("ready"):
            return "loading"
    return None
