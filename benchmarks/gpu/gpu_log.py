"""What a sitting's `gpu.csv` says of the time of one load."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import orjson

BUSY, POWER = "utilization.gpu [%]", "power.draw [W]"
WRITTEN_S = 3.0
"""From the end of a load's window until its summary is written, at most."""


def during(sitting: Path, load: Path, environment: dict[str, Any], duration_s: float) -> Any:
    """Mean use and power of each GPU while a load was measured; empty where nothing was logged.

    The driver calls a GPU busy while any kernel runs on it.
    """
    if "date" not in environment or not (sitting / "gpu.csv").is_file():
        return {}
    end = datetime.fromisoformat(environment["date"])
    begin, end = end - timedelta(seconds=duration_s), end - timedelta(seconds=WRITTEN_S)
    found = {}
    for gpu in _gpus(load.parent / "job.json"):
        rows = [row for at, row in _rows(sitting / "gpu.csv", gpu) if begin <= at <= end]
        if rows:
            busy, power_w = (fmean(float(row[name]) for row in rows) for name in (BUSY, POWER))
            found[gpu] = {"busy_percent": round(busy), "power_w": round(power_w)}
    return found


def _gpus(job: Path) -> list[str]:
    """Of all replicas, as the driver counts them."""
    if not job.is_file():
        return []
    processes = orjson.loads(job.read_bytes())["processes"]
    named = (process["env"].get("CUDA_VISIBLE_DEVICES", "") for process in processes)
    return sorted({gpu for names in named for gpu in names.split(",") if gpu})


@cache
def _rows(path: Path, gpu: str) -> list[tuple[datetime, dict[str, str]]]:
    """A machine with one GPU may have left its number out."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    own = (row for row in rows if row.get("index", gpu) == gpu and row.get(POWER))
    return [(_time(row["timestamp"]), row) for row in own]


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=UTC)
