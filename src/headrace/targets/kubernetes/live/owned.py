"""Whose an object is: only what Headrace made for this fleet is changed or removed."""

from __future__ import annotations

from headrace.errors import InputError
from headrace.targets.kubernetes.live.kinds import SHARED
from headrace.targets.kubernetes.objects import INSTANCE, MANAGED_BY, MANAGER, Object


def selector(fleet: str) -> str:
    """The labels of everything that belongs to a fleet."""
    return f"{MANAGED_BY}={MANAGER},{INSTANCE}={fleet}"


def is_ours(found: Object, fleet: str) -> bool:
    """Labels say so, and the API remembers that Headrace wrote it."""
    metadata = found["metadata"]
    labels = metadata.get("labels") or {}
    managers = {entry.get("manager") for entry in metadata.get("managedFields") or []}
    labelled = labels.get(MANAGED_BY) == MANAGER and labels.get(INSTANCE) == fleet
    return labelled and MANAGER in managers


def is_shared(found: Object) -> bool:
    """Whether others may use it too."""
    return found["kind"] in SHARED


def refuse_if_foreign(found: Object, fleet: str) -> None:
    """Raises InputError for an object of that name that somebody else made."""
    if not is_ours(found, fleet):
        name = f"{found['kind']}/{found['metadata']['name']}"
        raise InputError(
            f"{name} is there already, and Headrace did not make it for {fleet}",
            hint="choose another name or target.namespace, or remove it yourself",
        )
