"""Processor time of everything that a sitting's configuration has started, by name of process.

Written beside each load: what the gateway and the servers cost, and how much of its core the thread
has that launches an engine's kernels (a process's first one). The load generator's own processes
end before that; `summary.json` has what they cost.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

PROC = Path("/proc")
FIELDS = ("processes", "cpu_s", "first_thread_s")
TICKS_S = os.sysconf("SC_CLK_TCK")
Seconds = tuple[float, float]
"""Of all threads, and of the first."""


@contextmanager
def processor_time(path: Path) -> Iterator[None]:
    """Write to `path` what this process and its descendants used meanwhile; Linux only.

    Processes that ended before the block did are left out.
    """
    began_s, before = time.monotonic(), _used(os.getpid())
    yield
    wall_s, after = time.monotonic() - began_s, _used(os.getpid())
    found: defaultdict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(FIELDS, 0.0))
    for pid, (name, used) in after.items():
        had = before[pid][1] if pid in before else (0.0, 0.0)
        spent = (1.0, used[0] - had[0], used[1] - had[1])
        row = found[name]
        row |= {
            field: round(row[field] + more, 2) for field, more in zip(FIELDS, spent, strict=True)
        }
    document = {"wall_s": round(wall_s, 2), "by_process": found}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def _used(root: int) -> dict[int, tuple[str, Seconds]]:
    """Name and time so far of a process and its descendants."""
    rows = {pid: row for pid in _pids() if (row := _stat(PROC / str(pid))) is not None}
    children = defaultdict(list)
    for pid, (_, parent, _) in rows.items():
        children[parent].append(pid)
    found, left = {}, [root]
    while left:
        pid = left.pop()
        left += children[pid]
        if pid in rows:
            name, _, all_s = rows[pid]
            first = _stat(PROC / str(pid) / "task" / str(pid))
            found[pid] = (name, (all_s, first[2] if first else 0.0))
    return found


def _pids() -> list[int]:
    return [int(path.name) for path in PROC.glob("[0-9]*")]


def _stat(folder: Path) -> tuple[str, int, float] | None:
    """Name, parent and processor seconds; None for what has ended."""
    try:
        head, _, tail = (
            (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
        )
    except OSError:
        return None
    fields = tail.split()
    return head.partition("(")[2], int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS_S
