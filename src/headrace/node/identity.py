"""A process named so that its number's next owner is not taken for it."""

from __future__ import annotations

from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it has ended (zombies too)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def is_running(pid: int, ticks: int | None) -> bool:
    """Whether the process that started at `ticks` still runs (any with that pid, when None)."""
    now = start_ticks(pid)
    return now is not None and ticks in (None, now)
