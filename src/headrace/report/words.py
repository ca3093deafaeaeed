"""Numbers as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

NOTHING = "–"
BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def number(value: float | None) -> str:
    """Three or four digits that matter: 95,317; 46.2; 0.0873."""
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 else f"{value:.3g}"


def milliseconds(value: float | None) -> str:
    """From ten seconds on, in seconds."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{number(value / 1e3)} s" if abs(value) >= 10_000 else f"{number(value)} ms"


def seconds(value: float | None) -> str:
    """A span in seconds."""
    return NOTHING if value is None else f"{number(value)} s"


def usd(value: float | None) -> str:
    """A price; four decimals below one dollar."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"${value:,.2f}" if abs(value) >= 1 else f"${value:.4f}"


def percent(share: float) -> str:
    """A share of 1 as a percentage."""
    return f"{100 * share:.1f} %"


def ratio(value: float | None) -> str:
    """A quotient, as ×0.98."""
    return NOTHING if value is None or not math.isfinite(value) else f"×{value:.2f}"


def bytes_(value: float) -> str:
    """In binary units."""
    size, unit = value, 0
    while abs(size) >= 1024 and unit < len(BYTE_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.3g} {BYTE_UNITS[unit]}" if size < 1000 else f"{size:,.0f} {BYTE_UNITS[unit]}"


def moment(iso: str) -> str:
    """A UTC timestamp to the minute; text that is none stays as it is."""
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if when.tzinfo else iso


def plain(value: Any) -> str:
    """Any JSON value in one line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k} {plain(v)}" for k, v in value.items())
    return str(value)


def config(levers: dict[str, Any]) -> str:
    """A configuration of the planner in one line: `TP 1 · KV fp8 · 640 seqs`."""
    return " · ".join(_lever(name, value) for name, value in levers.items())


def _lever(name: str, value: Any) -> str:
    before = {
        "tensor_parallel": "TP",
        "kv_dtype": "KV",
        "state_dtype": "state",
        "mtp_depth": "MTP",
        "max_num_seqs": "seqs",
        "max_num_batched_tokens": "batched",
        "max_model_len": "context",
    }
    return f"{before.get(name, name)} {plain(value)}"
