"""What a sitting's `gpu.csv` says of the time of one load."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from statistics import fmean

import orjson

from headrace.loadgen.summary import Summary

FIELDS = {
    "busy_percent": "utilization.gpu [%]",
    "power_w": "power.draw [W]",
    "clock_mhz": "clocks.current.sm [MHz]",
}
WRITTEN_S = 3.0
"""From the end of a load's window until its summary is written, at most."""


def during(load: Path, summary: Summary) -> dict[str, dict[str, int]]:
    """Mean use, power and clock of each GPU while a load was measured.

    Empty where nothing was logged. The driver calls a GPU busy while any kernel runs on it.
    """
    sitting = load.parent.parent
    if "date" not in summary.environment or not (sitting / "gpu.csv").is_file():
        return {}
    end = datetime.fromisoformat(summary.environment["date"])
    begin, end = end - timedelta(seconds=summary.duration_s), end - timedelta(seconds=WRITTEN_S)
    logged = [row for at, row in _rows(sitting / "gpu.csv") if begin <= at <= end]
    found = {}
    job = next((each for each in (load, load.parent) if (each / "job.json").is_file()), load)
    for gpu in _gpus(job / "job.json"):
        # a machine with one GPU may have left its number out
        rows = [row for row in logged if row.get("index", gpu) == gpu]
        if rows:
            found[gpu] = {
                name: round(fmean(float(row[field]) for row in rows))
                for name, field in FIELDS.items()
            }
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
    return [(_time(row["timestamp"]), row) for row in rows if row.get(FIELDS["power_w"])]


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=UTC)
