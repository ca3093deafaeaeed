"""Parameters of the vision towers that come with language models."""

from __future__ import annotations

from typing import Any

FIELDS = (
    "depth",
    "hidden_size",
    "intermediate_size",
    "in_channels",
    "num_position_embeddings",
    "out_hidden_size",
    "patch_size",
    "spatial_merge_size",
    "temporal_patch_size",
)


def qwen_vision_parameters(vision: dict[str, Any] | None) -> int:
    """Qwen3-VL's vision transformer, which Qwen3.5 uses too; 0 when it is not fully described.

    Zero is safe for planning: Headrace serves text only unless told otherwise, and then vLLM
    does not load the tower.
    """
    if not vision or any(not isinstance(vision.get(field), int) for field in FIELDS):
        return 0
    size: dict[str, int] = {field: vision[field] for field in FIELDS}
    hidden, width = size["hidden_size"], size["intermediate_size"]
    pixels = size["in_channels"] * size["temporal_patch_size"] * size["patch_size"] ** 2
    attention = _affine(hidden, 3 * hidden) + _affine(hidden, hidden)
    block = attention + _affine(hidden, width) + _affine(width, hidden) + 4 * hidden
    merged = hidden * size["spatial_merge_size"] ** 2
    project = _affine(merged, merged) + _affine(merged, size["out_hidden_size"])
    deep = len(vision.get("deepstack_visual_indexes") or ())
    return (
        _affine(pixels, hidden)
        + size["num_position_embeddings"] * hidden
        + size["depth"] * block
        + project
        + 2 * hidden
        + deep * (project + 2 * merged)
    )


def _affine(k: int, n: int) -> int:
    return k * n + n
