"""How the gateway weighs replicas against each other: what Envoy is told, and what is simulated."""

from __future__ import annotations

LOOKS = 2
"""Random choices per replica: the least busy one is among them six times in seven."""
MOST_LOOKS = 512
"""Of thousands of replicas: enough for a balance that none feels."""
RESELECTIONS = 100
"""A choice that falls on a replica that was tried before is made again so often."""
BOUND = 1.5
"""Affinity gives way when a replica has this many times the mean number of running requests."""


def looks(replicas: int) -> int:
    """So many random replicas are looked at for a request by least-request."""
    return min(max(2, LOOKS * replicas), MOST_LOOKS)
