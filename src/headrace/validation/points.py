"""Measured points from a CSV file: one row a measurement, checked as they are read."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from headrace.errors import InputError

REQUIRED = ("id", "model", "gpu", "engine", "weights_dtype", "isl", "osl")
OPTIONAL_NUMBERS = ("n_gpus",)
SHOWN = 5
"""Faulty rows that one message names."""


def _blank_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _words_are_none(value: object) -> object:
    """Lengths such as `ShareGPT` are no number: such a row is valid, but cannot be predicted."""
    words = isinstance(value, str) and not any(c.isdigit() for c in value)
    return None if words else value


Tokens = Annotated[
    Annotated[int, Field(gt=0, le=10_000_000)] | None, BeforeValidator(_words_are_none)
]
Count = Annotated[Annotated[int, Field(gt=0, le=1_000_000)] | None, BeforeValidator(_blank_is_none)]
Tpot = Annotated[Annotated[float, Field(gt=0, le=60_000)] | None, BeforeValidator(_blank_is_none)]
"""Up to a minute a token."""
Ttft = Annotated[Annotated[float, Field(gt=0, le=1e8)] | None, BeforeValidator(_blank_is_none)]
"""Up to a day: rows whose requests queue for hours are published too."""
Rate = Annotated[Annotated[float, Field(gt=0, le=1e9)] | None, BeforeValidator(_blank_is_none)]


class Point(BaseModel):
    """One measurement. Columns that are not named here (sources, notes) are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    model: str
    gpu: str
    engine: str
    weights_dtype: str
    engine_version: str = ""
    kv_dtype: str = ""
    spec_decode: str = ""
    isl: Tokens
    osl: Tokens
    n_gpus: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """0: not stated."""
    tp: Count = None
    pp: Count = None
    concurrency: Count = None
    max_batch: Count = None
    tpot_ms: Tpot = None
    ttft_ms: Ttft = None
    total_tok_s: Rate = None
    output_tok_s: Rate = None


def load_points(path: Path) -> list[Point]:
    """All rows. Raises InputError that names missing columns, or every faulty row and why."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a UTF-8 text file"
        raise InputError(f"{path}: {reason}", hint="name a CSV file of measured points") from error
    reader = csv.DictReader(text.splitlines())
    missing = [name for name in REQUIRED if name not in (reader.fieldnames or [])]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}",
            hint=f"the first line names the columns; needed are {', '.join(REQUIRED)}",
        )
    points, faults = _read(reader, path)
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise InputError("; ".join(faults[:SHOWN]) + more, hint="correct or remove these rows")
    if not points:
        raise InputError(f"{path}: no rows", hint="give it at least one measured point")
    return points


def _read(rows: csv.DictReader[str], path: Path) -> tuple[list[Point], list[str]]:
    points: list[Point] = []
    faults: list[str] = []
    for row in rows:
        try:
            points.append(Point.model_validate(_whole(row)))
        except ValidationError as error:
            first = error.errors()[0]
            column = ".".join(map(str, first["loc"]))
            name = row.get("id") or "no id"
            faults.append(f"{path}:{rows.line_num}: row {name}: {column}: {first['msg']}")
    return points, faults


def _whole(row: dict[str, Any]) -> dict[str, Any]:
    """Cells that the line has; `1024.0` is the whole number that it means."""
    cells = {name: value for name, value in row.items() if name and isinstance(value, str)}
    cells = {k: v for k, v in cells.items() if v.strip() or k not in OPTIONAL_NUMBERS}
    return {k: v[:-2] if v.endswith(".0") and v[:-2].isdigit() else v for k, v in cells.items()}
