"""What a measuring verb answered and wrote, on a machine that is shared with other tests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import duckdb

BUSY = (
    *("the client was late", "the client was the bottleneck", "the load was not held"),
    "the simulated engine fell",
)
"""How `loadgen.validity` and `loadgen.simulated` begin what a busy machine alone can cause."""


def measured(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The summary, which is valid but for what a busy machine does to a load generator."""
    assert done.returncode in (0, 4), done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    reasons = summary["invalid_reasons"]
    assert [reason for reason in reasons if not reason.startswith(BUSY)] == []
    assert done.returncode == (0 if summary["valid"] else 4), done.stderr
    return summary


def rows(folder: Path, query: str, file: str = "records.parquet") -> list[Any]:
    """The answer of a run's table, which the query calls FILE."""
    with duckdb.connect() as database:
        return database.execute(query.replace("FILE", f"'{folder / file}'")).fetchall()
