"""The paced server: built, pinned, asked what it saw."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from headrace.errors import HeadraceError

NAP_MS = 0.25
"""At 87,000 chunks a second a tenth less of its core than without."""
SOURCE = Path(__file__).parents[1] / "paced_server.c"


@contextmanager
def serving(folder: Path, ttft_ms: float, itl_ms: float, cpu: int) -> Iterator[str]:
    """The server's URL; it is built in `folder` and runs on one processor."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise HeadraceError("no C compiler for the paced server", hint="install gcc or clang")
    binary = folder / "paced_server"
    if not binary.exists():
        subprocess.run([compiler, "-O2", "-o", str(binary), str(SOURCE)], check=True)
    times = [str(int(ms * 1000)) for ms in (ttft_ms, itl_ms, NAP_MS)]
    server = subprocess.Popen([str(binary), "0", *times], stdout=subprocess.PIPE, text=True)
    try:
        _alone(server.pid, cpu)
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.kill()
        server.wait()


def _alone(pid: int, cpu: int) -> None:
    """Pin it, and put it before all else there where that is allowed: what else runs makes it late,
    and it sleeps too much to keep that from running."""
    os.sched_setaffinity(pid, {cpu})
    with suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))


def stats(url: str) -> dict[str, Any]:
    """What the server saw since it started."""
    with urllib.request.urlopen(f"{url}/stats", timeout=10) as answer:
        found: dict[str, Any] = orjson.loads(answer.read())
    return found
