"""Objects as they were read, what is found about them, and the rules that find it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.targets.kubernetes.objects import Object

if TYPE_CHECKING:
    from headrace.targets.kubernetes.check.cluster import Cluster


@dataclass(frozen=True)
class Source:
    """An object and where it was read: the file's path as given, the document's first line."""

    object: Object
    file: str
    line: int
    foreign: bool = False
    """Whether nothing is known of its fields, whatever its kind is called: rules leave it alone."""

    @property
    def kind(self) -> str:
        """`Deployment`."""
        return str(self.object.get("kind", ""))

    @property
    def api(self) -> str:
        """`apps/v1`."""
        return str(self.object.get("apiVersion", ""))

    @property
    def name(self) -> str:
        """The object's name; empty when it has none."""
        metadata = self.object.get("metadata")
        return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""

    @property
    def namespace(self) -> str:
        """The object's namespace; empty for the default and for what has none."""
        return str(self.object["metadata"].get("namespace", ""))

    @property
    def spec(self) -> dict[str, Any]:
        """The object's spec; empty when it has none."""
        spec = self.object.get("spec")
        return spec if isinstance(spec, dict) else {}

    @property
    def labelled(self) -> str:
        """`Deployment/name`."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Finding:
    """One fault: which rule, where, what is wrong, and what to do about it."""

    rule: str
    file: str
    line: int
    object: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.object}: {self.message} [{self.rule}]"


Fault = tuple[Source, str]
"""Where, and what is wrong, in words that name the values."""
Check = Callable[["Cluster"], Iterator[Fault]]


@dataclass(frozen=True)
class Rule:
    """One thing that a schema cannot see. `why` is what happens on a cluster when it is broken."""

    id: str
    why: str
    fix: str
    check: Check

    def findings(self, cluster: Cluster) -> Iterator[Finding]:
        """All faults of this kind."""
        for source, message in self.check(cluster):
            yield Finding(self.id, source.file, source.line, source.labelled, message, self.fix)


RULES: dict[str, Rule] = {}
"""By id, in the order in which the modules define them."""


def rule(id_: str, *, why: str, fix: str) -> Callable[[Check], Check]:
    """Make a function a rule."""

    def register(check: Check) -> Check:
        assert id_ not in RULES, id_
        RULES[id_] = Rule(id_, why, fix, check)
        return check

    return register
