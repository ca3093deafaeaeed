"""One run of one load generator: what the server saw, what the processor spent, what the tool said.

Every tool runs on one processor, the server on another. "Held" is the number of streams that the
server had open, on average between its first request and its last chunk. Chunks per CPU second
count answers that the tool has taken in to their end, which the server knows because the next
request follows only then: what a client leaves unread in its buffers is no work done. They are
taken over whole waves, from the middle of the second to the middle of the last one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace.sampling import Sampling
from loadgen.paced import serving, stats
from loadgen.tools import Load, Reported, Tool

START_LIMIT_S = 120.0
"""How long a tool may take to its first request."""


@dataclass(frozen=True)
class Bench:
    """The load that all tools are asked for, and where it runs. The times are the server's."""

    streams: int
    requests: int
    input_tokens: int
    output_tokens: int
    ttft_ms: float
    itl_ms: float
    tokenizer: Path
    client_cpu: int
    server_cpu: int
    limit_s: float
    """A tool that loads for longer is stopped; what the server saw of it counts."""


@dataclass(frozen=True)
class Row:
    """One tool's run. `failed` says why there is none, or why it ended early."""

    tool: str
    requests: int = 0
    held: float = 0.0
    held_max: int = 0
    chunks_per_cpu_s: float | None = None
    server_late_p50_ms: float | None = None
    server_late_p99_ms: float | None = None
    wall_s: float = 0.0
    reported: Reported | None = None
    failed: str = ""


class Meter(Sampling):
    """Samples how many requests have come and what the tool's processes have used."""

    def __init__(self, url: str, pid: int) -> None:
        super().__init__()
        self.samples: list[tuple[int, float]] = []
        """Requests that the server has seen, processor seconds used."""
        self.began_s: float | None = None
        """When the first request had come (monotonic clock)."""
        self._url = url
        self._pid = pid
        self._used: dict[int, float] = {}

    def _sample(self) -> None:
        for _ in self._every(0.25):
            self._used |= _cpu_s(self._pid)
            requests = int(stats(self._url)["requests"])
            if requests and self.began_s is None:
                self.began_s = time.monotonic()
            self.samples.append((requests, sum(self._used.values())))

    def requests_per_cpu_s(self, most_open: int) -> float | None:
        """Over whole waves of requests; None when there were too few of them."""
        if not self.samples:
            return None
        low, high = 1.5 * most_open, self.samples[-1][0] - 0.5 * most_open
        if high <= low:
            return None
        requests, cpu_s = zip(*self.samples, strict=True)
        spent_s = float(np.interp(high, requests, cpu_s) - np.interp(low, requests, cpu_s))
        return (high - low) / spent_s if spent_s > 0 else None


def _cpu_s(root: int) -> dict[int, float]:
    """Processor seconds of a process and all its descendants."""
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    found, queue = {}, [root]
    while queue:
        pid = queue.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found[pid] = (int(fields[11]) + int(fields[12])) * tick_s
            for task in Path(f"/proc/{pid}/task").iterdir():
                queue += [int(child) for child in (task / "children").read_text().split()]
        except (OSError, IndexError):
            continue
    return found


def measure(tool: Tool, folder: Path, bench: Bench) -> Row:
    """One run of one tool against a fresh server."""
    folder.mkdir(parents=True)
    with serving(folder, bench.ttft_ms, bench.itl_ms, bench.server_cpu) as url:
        load = Load(
            *(url, bench.streams, bench.requests, bench.input_tokens),
            *(bench.output_tokens, bench.tokenizer),
        )
        before_s = time.monotonic()
        with (folder / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                ["taskset", "-c", str(bench.client_cpu), *tool.command(folder, load)],
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
                env=_environment(tool),
            )
            with Meter(url, process.pid) as meter:
                failed = _wait(process, meter, bench.limit_s)
        seen = stats(url)
    reported, failed = _read(tool, folder, failed)
    rate = meter.requests_per_cpu_s(seen["open_max"])
    return Row(
        tool=tool.name,
        requests=seen["requests"],
        held=seen["open_mean"],
        held_max=seen["open_max"],
        chunks_per_cpu_s=None if rate is None else rate * bench.output_tokens,
        server_late_p50_ms=seen["late_ms"]["p50"],
        server_late_p99_ms=seen["late_ms"]["p99"],
        wall_s=time.monotonic() - before_s,
        reported=reported,
        failed=failed,
    )


def _environment(tool: Tool) -> dict[str, str]:
    """Offline where the tool can be, so that a local tokenizer is not looked up; our own
    `headrace` first."""
    own = str(Path(sys.executable).parent)
    told = {"TOKENIZERS_PARALLELISM": "false", "PATH": f"{own}:{os.environ['PATH']}"}
    if tool.offline:
        told |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return {**os.environ, **told}


def _wait(process: subprocess.Popen[bytes], meter: Meter, limit_s: float) -> str:
    """Why it failed; empty when it did not. Whatever it started is gone afterwards."""
    started_s = time.monotonic()
    try:
        while process.poll() is None:
            now_s = time.monotonic()
            if meter.began_s is None and now_s - started_s > START_LIMIT_S:
                return f"no request within {START_LIMIT_S:g} s"
            if meter.began_s is not None and now_s - meter.began_s > limit_s:
                return f"stopped after {limit_s:g} s of load"
            time.sleep(0.1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        status = process.wait()
    return "" if status in (0, 4) else f"exit status {status}"


def _read(tool: Tool, folder: Path, failed: str) -> tuple[Reported | None, str]:
    if failed.startswith("stopped"):
        return None, failed
    try:
        return tool.read(folder), failed
    except (OSError, ValueError, LookupError, TypeError) as error:
        lines = (folder / "log.txt").read_text(errors="replace").strip().splitlines()
        last = lines[-1][:200] if lines else ""
        return None, f"{failed or f'no result ({type(error).__name__})'}: {last}"
