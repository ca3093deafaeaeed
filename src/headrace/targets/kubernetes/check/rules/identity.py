"""Names: what the API refuses although the schema allows it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headrace.targets.kubernetes.check.cluster import Cluster
from headrace.targets.kubernetes.check.found import Fault, rule

DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
DNS_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
SHORT_NAMES = ("Service", "Namespace")
"""Kinds whose names become part of a host name."""


@rule(
    "name-invalid",
    why="The API refuses the object: names are lower-case letters, digits, dashes and dots.",
    fix="rename it; a Service or Namespace may have no dots and 63 characters at most",
)
def name_invalid(cluster: Cluster) -> Iterator[Fault]:
    for source in cluster.sources:
        pattern = DNS_LABEL if source.kind in SHORT_NAMES else DNS_SUBDOMAIN
        if source.api.startswith("rbac.authorization.k8s.io"):
            continue
        if not pattern.match(source.name):
            yield source, f"the name {source.name!r} is not a valid name of a {source.kind}"


@rule(
    "object-twice",
    why="The second one overwrites the first when both are applied.",
    fix="rename one of them, or take it out",
)
def object_twice(cluster: Cluster) -> Iterator[Fault]:
    seen: dict[tuple[str, str, str], str] = {}
    for source in cluster.sources:
        key = (source.kind, source.namespace, source.name)
        if key in seen:
            yield source, f"is described twice; first in {seen[key]}"
        seen.setdefault(key, f"{source.file}:{source.line}")
