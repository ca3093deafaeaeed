"""Words of exactly one token, so that prompts sent as text have a known length too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Each word, with the blank before it, is one token wherever it stands in a text."""

    words: list[str]
    overhead_tokens: int
    """What a server adds to a prompt of its own accord: a chat template, a first token."""


_COMMON = """
time year people way day man thing woman life child world school state family student
group country problem hand part place case week company system program question work
government number night point home water room mother area money story fact month lot right
study book eye job word business issue side kind head house service friend father power
hour game line end member law car city name team minute idea body back parent face level
office door health person art war history party result change morning reason research girl
guy moment air teacher force
"""
COMMON = tuple(_COMMON.split())
"""Common English words; in most vocabularies each is one token, with or without a blank before."""
