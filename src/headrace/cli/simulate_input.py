"""What `headrace simulate` was asked, read from its options; bad ones end in one message."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace.errors import InputError
from headrace.simulator.day import TYPICAL
from headrace.simulator.scenario import POLICIES, Policy
from headrace.simulator.workload import Trace

UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
TRACE_COLUMNS = ("sent_s", "input_tokens", "output_tokens")


@dataclass(frozen=True)
class Asked:
    """The options, checked."""

    duration_s: float
    seed: int
    quick: bool
    nodes: list[int]
    policy: Policy | None
    all_policies: bool
    rate: float | None
    rate_sweep: bool
    gpus_for: float | None
    gpus: list[str]
    spare: int
    failures: list[tuple[int, float]]
    update: tuple[int, float] | None
    spot: float | None
    daily: tuple[float, ...]
    trace: Trace | None
    prefill_share: float | None
    start_s: float
    prefix_groups: int
    regions: int
    region_delay_s: float

    def __post_init__(self) -> None:
        """Raises InputError when two questions were asked at once."""
        questions = {
            "--nodes": bool(self.nodes),
            "--policy all": self.all_policies,
            "--rate-sweep": self.rate_sweep,
            "--gpus-for": self.gpus_for is not None,
            "--daily": bool(self.daily),
        }
        asked = [name for name, is_asked in questions.items() if is_asked]
        if len(asked) > 1:
            raise InputError(f"{asked[0]} and {asked[1]}: expected one question at a time")
        has_course = bool(self.failures) or self.update is not None or self.spot is not None
        if asked and has_course:
            raise InputError(f"{asked[0]} with --fail, --update or --spot: expected one of them")
        if self.gpus and self.gpus_for is None:
            raise InputError("--gpu without --gpus-for", hint="add --gpus-for 1.1M")


def positive(option: str, value: float) -> float:
    """Raises InputError unless it is above 0."""
    if not 0 < value < float("inf"):
        raise InputError(f"{option} {value:g}: expected a number above 0")
    return value


def share(option: str, value: float | None) -> float | None:
    """Raises InputError unless it lies between 0 and 1."""
    if value is not None and not 0 < value < 1:
        raise InputError(f"{option} {value:g}: expected a share between 0 and 1, as 0.25")
    return value


def whole_numbers(option: str, text: str | None) -> list[int]:
    """`1,2,4` as ascending numbers."""
    if text is None:
        return []
    if not re.fullmatch(r"[1-9]\d{0,5}(,[1-9]\d{0,5})*", text.replace(" ", "")):
        raise InputError(f"{option} {text}: expected whole numbers above 0, as 1,2,4,8,12")
    return sorted({int(part) for part in text.split(",")})


def amount(option: str, text: str | None) -> float | None:
    """`1.1M`, `350k` or a plain number."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)", text.strip().lower())
    if match is None or float(match[1]) == 0:
        raise InputError(f"{option} {text}: expected tokens per second, as 1.1M or 350000")
    return float(match[1]) * UNITS[match[2]]


def count_at(option: str, text: str) -> tuple[int, float]:
    """`2@60s` as a count and seconds."""
    match = re.fullmatch(r"([1-9]\d{0,5})@(\d+(?:\.\d+)?)s?", text.strip())
    if match is None:
        raise InputError(f"{option} {text}: expected a number at a time in seconds, as 2@60s")
    return int(match[1]), float(match[2])


def policy_of(text: str | None) -> Policy | None:
    """A policy's name; None for none or all."""
    if text is None or text == "all":
        return None
    if text not in POLICIES:
        raise InputError(f"--policy {text}: expected all or one of {', '.join(POLICIES)}")
    return text


def hourly_rates(text: str | None) -> tuple[float, ...]:
    """A peak in requests/s spread over a typical day, or a file's own hours."""
    if text is None:
        return ()
    try:
        peak = float(text)
    except ValueError:
        return _rates_of(Path(text))
    return tuple(positive("--daily", peak) * part for part in TYPICAL)


def _rates_of(path: Path) -> tuple[float, ...]:
    rows = _rows(path, ("hour", "requests_s"), "--daily")
    rates = tuple(row[1] for row in rows)
    if not 1 <= len(rates) <= 48 or min(rates) <= 0:
        raise InputError(f"{path}: expected 1 to 48 hours with requests_s above 0")
    return rates


def read_trace(path: Path | None) -> Trace | None:
    """Arrivals from a CSV, sorted by time."""
    if path is None:
        return None
    table = np.array(_rows(path, TRACE_COLUMNS, "--trace"))
    table = table[np.argsort(table[:, 0], kind="stable")]
    if (table[:, 1:] < 1).any() or (table[:, 0] < 0).any():
        raise InputError(f"{path}: expected sent_s from 0 on and token counts from 1 on")
    prompts, answers = table[:, 1].astype(np.int32), table[:, 2].astype(np.int32)
    return Trace(table[:, 0].copy(), prompts, answers)


def _rows(path: Path, columns: tuple[str, ...], option: str) -> list[list[float]]:
    """The columns of a CSV with a heading. Raises InputError with the line that is wrong."""
    expected = f"expected a heading {','.join(columns)} and numbers below it"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not set(columns) <= set(reader.fieldnames or ()):
                raise InputError(f"{path}:1: {expected}")
            rows = [_numbers(path, reader.line_num, row, columns) for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{option} {path}: cannot be read: {error}") from error
    if not rows:
        raise InputError(f"{path}: {expected}; it holds no row")
    return rows


def _numbers(
    path: Path, line: int, row: dict[str, str | None], columns: tuple[str, ...]
) -> list[float]:
    try:
        return [float(row[name] or "") for name in columns]
    except ValueError as error:
        raise InputError(f"{path}:{line}: expected numbers in {', '.join(columns)}") from error
