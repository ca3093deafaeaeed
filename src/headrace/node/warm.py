"""Weights into the page cache before several engines read them from the disk at once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

PIECE_BYTES = 64 * 1024 * 1024


def weight_files(model: Path) -> list[Path]:
    """The weights of a model's folder, in the order in which engines read them."""
    return sorted(model.glob("*.safetensors"))


async def warm(files: list[Path]) -> None:
    """Read the files once, in order, beside everything else. Best effort: a file may be gone."""
    for path in files:
        await asyncio.to_thread(_read, path)


def _read(path: Path) -> None:
    try:
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            buffer = bytearray(PIECE_BYTES)
            while file.readinto(buffer):
                pass
    except OSError:
        return
