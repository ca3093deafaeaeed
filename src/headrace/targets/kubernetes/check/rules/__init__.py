"""The rules, a module per subject. Importing this package registers them all."""

from headrace.targets.kubernetes.check.rules import (
    disruption,
    identity,
    load,
    metrics,
    pods,
    references,
    resources,
    secrets,
    security,
    selection,
    shutdown,
    storage,
)

__all__ = [
    "disruption",
    "identity",
    "load",
    "metrics",
    "pods",
    "references",
    "resources",
    "secrets",
    "security",
    "selection",
    "shutdown",
    "storage",
]
