"""The pieces that pages are built of, as the templates show them: text and percentages only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "bad", "plain"]


@dataclass(frozen=True)
class Card:
    """A headline number. `kind` says whether it was measured or predicted."""

    label: str
    value: str
    unit: str
    note: str
    kind: str


@dataclass(frozen=True)
class Verdict:
    """One line that says whether something held, with the reasons why not."""

    tone: Tone
    text: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bullet:
    """A measured bar over its predicted tick and band; positions in percent of the track."""

    label: str
    said: str
    measured: float | None
    predicted: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """One bar of a list of bars, in percent of the track."""

    label: str
    value: str
    share: float
    tone: str = "measured"


@dataclass(frozen=True)
class Fact:
    """A name and its value."""

    name: str
    value: str


@dataclass(frozen=True)
class Command:
    """A shell command and what it is for."""

    what: str
    line: str
