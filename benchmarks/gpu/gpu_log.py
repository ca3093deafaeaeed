"""What a sitting's `gpu.csv` says of the time of one load."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from statistics import fmean

import orjson

from headrace.loadgen.summary import Summary

BUSY, POWER = "utilization.gpu [%]", "power.draw [W]"
WRITTEN_S = 3.0
"""From the end of a load's window until its summary is written, at most."""


def during(load: Path, summary: Summary) -> dict[str, dict[str, int]]:
    """Mean use and power of each GPU while a load was measured; empty where nothing was logged.

    The driver calls a GPU busy while any kernel runs on it.
    """
    configuration, sitting = load.parent, load.parent.parent
    if "date" not in summary.environment or not (sitting / "gpu.csv").is_file():
        return {}
    end = datetime.fromisoformat(summary.environment["date"])
    begin, end = end - timedelta(seconds=summary.duration_s), end - timedelta(seconds=WRITTEN_S)
    logged = [row for at, row in _rows(sitting / "gpu.csv") if begin <= at <= end]
    found = {}
    for gpu in _gpus(configuration / "job.json"):
        # a machine with one GPU may have left its number out
        rows = [row for row in logged if row.get("index", gpu) == gpu]
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
def _rows(path: Path) -> list[tuple[datetime, dict[str, str]]]:
    """All whole lines."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    return [(_time(row["timestamp"]), row) for row in rows if row.get(POWER)]


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=UTC)
