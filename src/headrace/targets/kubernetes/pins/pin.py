"""What a fleet's names mean now, asked of registries and of the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from headrace.spec.document import FieldPath
from headrace.targets.kubernetes.pins.hub import BRANCH, commit_of
from headrace.targets.kubernetes.pins.image import Image, parse_image
from headrace.targets.kubernetes.pins.registry import digest_of
from headrace.targets.kubernetes.pins.wanted import downloads, images
from headrace.targets.kubernetes.shape import Shape

if TYPE_CHECKING:
    import httpx2

State = Literal["unpinned", "moved", "current", "by digest alone"]
REVISION: FieldPath = ("target", "storage", "revision")


@dataclass(frozen=True)
class Pin:
    """One field of the fleet file: what stood there, and what stands for it now."""

    field: FieldPath
    follows: str
    """The tag or branch whose meaning was asked for."""
    before: str | None
    after: str
    state: State

    @property
    def changes(self) -> bool:
        """Whether the fleet file must be written."""
        return self.before != self.after


def look_up(
    client: httpx2.Client,
    shape: Shape,
    mirrors: Mapping[str, str],
    say: Callable[[str], None],
) -> list[Pin]:
    """Ask registries and hub; `say` is told what is asked for. Raises HeadraceError."""
    pins = []
    for at, named in images(shape).items():
        image = parse_image(named)
        say(f"asking {image.host} for {image.name}")
        before = _field(shape, at)
        pins.append(_pinned(at, before, image, client, mirrors.get(image.host)))
    if downloads(shape):
        say(f"asking the hub for {shape.model}")
        before, after = shape.target.storage.revision, commit_of(client, shape.model)
        state = _state(before is not None, before == after)
        pins.append(Pin(REVISION, f"{shape.model} at {BRANCH}", before, after, state))
    return pins


def _pinned(
    at: FieldPath, before: str | None, image: Image, client: httpx2.Client, mirror: str | None
) -> Pin:
    if image.tag is None:
        assert before is not None
        return Pin(at, image.name, before, before, "by digest alone")
    after = image.at(digest_of(client, image, mirror))
    state = _state("@" in (before or ""), before == after)
    return Pin(at, f"{image.name}:{image.tag}", before, after, state)


def _state(pinned: bool, same: bool) -> State:
    if not pinned:
        return "unpinned"
    return "current" if same else "moved"


def _field(shape: Shape, at: FieldPath) -> str | None:
    """What the fleet file says of a field, or its default."""
    value: object = shape.target
    for name in at[1:]:
        value = getattr(value, str(name))
    return value if isinstance(value, str) else None
