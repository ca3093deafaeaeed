"""Logs that do not fill the disk: cut where they grew too large, the last pieces kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

LOOK_S = 5.0
MAX_BYTES = 64 * 1024 * 1024
KEPT = 2


def rotate(path: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> bool:
    """Move what `path` holds to `path.1` (and that to `path.2`, ...) once it is too large.

    The program keeps its file: it was opened for appending, so it goes on at the new beginning.
    What it writes between copy and cut, well under a millisecond for a small log, is lost.
    """
    try:
        if path.stat().st_size < max_bytes:
            return False
    except FileNotFoundError:
        return False
    for number in range(kept, 1, -1):
        older = path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
    shutil.copyfile(path, path.with_name(f"{path.name}.1"))
    os.truncate(path, 0)
    return True


async def keep_rotating(paths: Iterable[Path], max_bytes: int = MAX_BYTES) -> None:
    """Look at the logs every few seconds, until cancelled. A full disk is not worth an end."""
    every = list(paths)
    while True:
        await asyncio.sleep(LOOK_S)
        for path in every:
            try:
                rotate(path, max_bytes)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.write(2, f"{path}: not rotated: {error.strerror}\n".encode())
