"""One check of a folder: what was read, what was found, what could not be judged."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import InputError
from headrace.targets.kubernetes.check import rules as _rules
from headrace.targets.kubernetes.check.cluster import Cluster
from headrace.targets.kubernetes.check.crds import from_path, packaged
from headrace.targets.kubernetes.check.found import RULES, Finding
from headrace.targets.kubernetes.check.read import read
from headrace.targets.kubernetes.check.schema import check_schemas, require, unknown

__all__ = ["KUBERNETES", "RULES", "Report", "check"]
assert _rules  # registers the rules

KUBERNETES = "1.34"
"""Whose schemas are used unless another version is asked for."""


@dataclass(frozen=True)
class Report:
    """The outcome. `unknown` are kinds without a schema, `unread` files and why."""

    objects: int
    findings: list[Finding]
    unknown: list[str]
    unread: list[tuple[str, str]]


def check(
    path: Path,
    *,
    crds: Path | None = None,
    kubernetes: str = KUBERNETES,
    ignore: Collection[str] = (),
    schemas_only: bool = False,
) -> Report:
    """Check a file or folder of manifests.

    Raises InputError for a path without manifests, an unknown rule in `ignore`, and when the extra
    is not installed.
    """
    require()
    _known(ignore)
    reading = read(path)
    known = packaged() | (from_path(crds) if crds else {})
    by_schema, fitted = check_schemas(reading.sources, known, kubernetes)
    found = [*reading.findings, *by_schema]
    if not schemas_only:
        cluster = Cluster(fitted)
        found += [f for rule in RULES.values() for f in rule.findings(cluster)]
    kept = [finding for finding in dict.fromkeys(found) if finding.rule not in ignore]
    kept.sort(key=lambda finding: (finding.file, finding.line))
    return Report(len(reading.sources), kept, unknown(reading.sources, known), reading.unread)


def _known(ignore: Collection[str]) -> None:
    for rule in ignore:
        if rule not in RULES and rule not in ("schema", "yaml"):
            raise InputError(
                f"--ignore {rule}: there is no such rule",
                hint="`headrace check --rules` lists them",
            )
