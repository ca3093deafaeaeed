"""Words of exactly one token, so that prompts sent as text have a known length too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Each word, with the blank before it, is one token wherever it stands in a text."""

    words: list[str]
    overhead_tokens: int
    """What a server adds to a prompt of its own accord: a chat template, a first token."""
