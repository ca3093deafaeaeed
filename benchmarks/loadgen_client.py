"""Headrace's client on one core against a server that keeps its own schedule, on another.

    python benchmarks/loadgen_client.py [--streams 4000] [--ttft-ms 300] [--itl-ms 46]

Prints chunks per second of processor time, memory per open stream, and reported beside true
latency. Needs a C compiler; without one it says so.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import orjson

from headrace.loadgen.progress import Progress
from headrace.loadgen.run import run_bench
from headrace.loadgen.spec import BenchSpec
from headrace.loadgen.summary import Summary
from loadgen.paced import serving, stats

CHUNKS_PER_CORE = 100_000


def main() -> None:
    """Measure once and print."""
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        watcher = _Memory()
        with serving(folder, options.ttft_ms, options.itl_ms, options.server_cpu) as url:
            summary = run_bench(_spec(url, options), folder / "run", progress=watcher)
            seen = stats(url)
    _print(summary, seen, watcher, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, default=4000)
    parser.add_argument("--ttft-ms", type=float, default=300.0)
    parser.add_argument("--itl-ms", type=float, default=46.0)
    parser.add_argument("--input-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--requests", type=int, help="default: three for each stream")
    parser.add_argument("--rate", type=float, help="open loop at this many requests per second")
    parser.add_argument("--together", action="store_true", help="one burst, no warm-up")
    parser.add_argument("--client-cpu", type=int, default=0)
    parser.add_argument("--server-cpu", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _spec(url: str, options: argparse.Namespace) -> BenchSpec:
    return BenchSpec(
        urls=[url],
        model="model",
        input_tokens=options.input_tokens,
        output_tokens=options.output_tokens,
        concurrency=None if options.rate else options.streams,
        request_rate=options.rate,
        requests=options.requests or 3 * options.streams,
        start="together" if options.together else "spread",
        cpus=[options.client_cpu],
    )


class _Memory:
    """Largest resident size of the worker process, read from its own folder's process list."""

    def __init__(self) -> None:
        self.bytes = 0
        self._next_s = 0.0

    def __call__(self, _: Progress) -> None:
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + 1.0
        own = f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children"
        for child in Path(own).read_text(encoding="ascii").split():
            self._look(Path("/proc") / child)

    def _look(self, process: Path) -> None:
        if b"headrace.loadgen.worker" in (process / "cmdline").read_bytes():
            pages = int((process / "statm").read_text(encoding="ascii").split()[1])
            self.bytes = max(self.bytes, pages * os.sysconf("SC_PAGE_SIZE"))


def _print(
    summary: Summary, stats: dict[str, object], memory: _Memory, options: argparse.Namespace
) -> None:
    client, latency = summary.client, summary.latency_ms
    assert latency is not None
    result = {
        "valid": summary.valid,
        "invalid_reasons": summary.invalid_reasons,
        "requests": summary.requests.model_dump(),
        "duration_s": summary.duration_s,
        "chunks_per_s": client.chunks / summary.duration_s,
        "client_cpu_share": client.cpu_s / summary.duration_s,
        "chunks_per_cpu_s": client.chunks_per_cpu_s,
        "us_per_chunk": 1e6 / client.chunks_per_cpu_s,
        "client_lag_ms": client.lag_ms.model_dump(),
        "kernel_timed": client.kernel_timed,
        "vague": client.vague,
        "rss_kb_per_stream": memory.bytes / 1024 / options.streams,
        "rss_mb": memory.bytes / 2**20,
        "truth_ms": {"ttft": options.ttft_ms, "itl": options.itl_ms},
        "ttft_ms": latency.ttft.model_dump(),
        "itl_ms": latency.itl.model_dump(),
        "tpot_ms": latency.tpot.model_dump(),
        "concurrency": summary.concurrency.model_dump(),
        "server": stats,
    }
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
