"""The samples of a dataset, in one form whatever file they came from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

BLOCK_TOKENS = 512
"""Tokens for each hash of a Mooncake trace."""


@dataclass(frozen=True)
class Sample:
    """One conversation of a dataset, or one request of a trace."""

    prompt_tokens: int = 0
    """Length of the prompt; 0 where only the server can count it."""
    answer_tokens: list[int] = field(default_factory=list)
    """Length of each turn's answer; 0 or missing where it is not known."""
    at_s: float = 0.0
    """When the trace sent it, from the trace's start."""
    said: list[str] = field(default_factory=list)
    """What the user says in each turn; empty where the prompt is made up from its length."""
    messages: list[dict[str, Any]] = field(default_factory=list)
    """What comes before the user's first turn, or the whole chat where `said` is empty."""
    ids: list[int] = field(default_factory=list)
    """The prompt as token ids."""
    blocks: list[int] = field(default_factory=list)
    """Numbers of the prompt's blocks: prompts that share numbers share that text."""


def write_samples(samples: list[Sample], path: Path) -> None:
    """One JSON object per line; what is empty is left out."""
    lines = (
        orjson.dumps({name: value for name, value in asdict(sample).items() if value})
        for sample in samples
    )
    path.write_bytes(b"\n".join(lines) + b"\n")


def read_samples(path: Path) -> list[Sample]:
    """What `write_samples` wrote."""
    return [Sample(**orjson.loads(line)) for line in path.read_bytes().splitlines()]
