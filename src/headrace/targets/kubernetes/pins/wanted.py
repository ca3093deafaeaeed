"""What of a fleet can be pinned, and what is not yet. Pure."""

from __future__ import annotations

import re

from headrace.spec.document import FieldPath
from headrace.targets.kubernetes.pins.image import DOCKER_HUB, parse_image
from headrace.targets.kubernetes.shape import Shape

_RELEASE = re.compile(r"v\d+\.\d+\.\d+")


def images(shape: Shape) -> dict[FieldPath, str]:
    """The images that a fleet's pods run, by the field that names them."""
    target = shape.target
    found: dict[FieldPath, str | None] = {
        ("target", "image"): _of_version(shape.image, shape.version),
        ("target", "canary", "image"): target.canary.image,
        ("target", "bench_image"): target.bench_image,
    }
    if target.data_plane == "envoy":
        found["target", "gateway_image"] = target.gateway_image
    if target.data_plane == "inference-pool":
        found["target", "picker_image"] = shape.picker_image
    return {at: image for at, image in found.items() if image}


def unpinned(shape: Shape) -> list[str]:
    """What the fleet names by tag or branch, in words: what `headrace check` will find."""
    found = [image for image in images(shape).values() if "@" not in image]
    if downloads(shape) and shape.target.storage.revision is None:
        found.append(f"{shape.model} at its newest commit")
    return found


def downloads(shape: Shape) -> bool:
    """Whether the fleet fetches its model, so that a commit says which."""
    return shape.target.storage.kind != "existing"


def _of_version(named: str, version: str) -> str:
    """vLLM's own image at another release is an earlier pin: the plan is for `engine.version`."""
    image = parse_image(named)
    own = image.host == DOCKER_HUB and image.repository == "vllm/vllm-openai"
    if own and image.tag and _RELEASE.fullmatch(image.tag) and image.tag != f"v{version}":
        return f"{image.name}:v{version}"
    return named
