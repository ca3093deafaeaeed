"""Processor time of the simulated engine per chunk, with a plain client in a process of its own.

    python benchmarks/simulated_engine.py [--streams 2000] [--step-ms 46] [--tokens 128]

The server is pinned to one core and the client to another. Prints microseconds of the server's
processor time per SSE chunk, whole requests included, and how late its steps ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import cast

import uvloop

from headrace.engines.simulated.job import SimulatedJob
from headrace.node.ports import free_port
from headrace.perf.replica import ReplicaModel
from headrace.perf.step import StepModel
from headrace.scheduler.spec import CacheSpec, SchedulerSpec

MODEL = "bench"
END = b"0\r\n\r\n"


class Stream(asyncio.Protocol):
    """Sends one request and counts the chunks of its answer."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.chunks = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.chunks += data.count(b'"text":')
        if data.endswith(END):
            self.done.set_result(None)
            self._transport.close()


def main() -> None:
    options = _options()
    ports = [free_port("127.0.0.1") for _ in range(options.replicas)]
    with tempfile.TemporaryDirectory() as folder:
        server = _serve(Path(folder), ports, options)
        try:
            _wait(ports[-1])
            os.sched_setaffinity(0, {options.client_cpu})
            before_s = _cpu_s(server.pid)
            began_s = time.perf_counter()
            chunks = uvloop.run(_load(ports, options))
            wall_s = time.perf_counter() - began_s
            cpu_s = _cpu_s(server.pid) - before_s
            lag_ms = max(map(_lag_ms, ports))
        finally:
            server.terminate()
            server.wait()
    result = {
        "chunks": chunks,
        "cpu_us_per_chunk": round(cpu_s / chunks * 1e6, 2),
        "chunks_per_core_s": round(chunks / cpu_s),
        "server_core_busy": round(cpu_s / wall_s, 3),
        "chunks_per_wall_s": round(chunks / wall_s),
        "worst_replica_mean_lag_ms": round(lag_ms, 2),
    }
    print(json.dumps(result) if options.json else _table(result))


def _table(result: dict[str, float]) -> str:
    return "\n".join(f"{name:28} {value:>12,}" for name, value in result.items())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--step-ms", type=float, default=46.0)
    parser.add_argument("--mtp-depth", type=int, default=0)
    parser.add_argument("--client-cpu", type=int, default=0)
    parser.add_argument("--server-cpu", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _serve(folder: Path, ports: list[int], options: argparse.Namespace) -> subprocess.Popen[bytes]:
    job = SimulatedJob(
        model=MODEL,
        ports=ports,
        replica=_replica(options).to_json(),
        max_model_len=4096,
        vocab_size=32_000,
    )
    path = folder / "job.json"
    path.write_text(job.model_dump_json())
    command = [sys.executable, "-m", "headrace.engines.simulated", "--job", str(path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    os.sched_setaffinity(server.pid, {options.server_cpu})
    return server


def _replica(options: argparse.Namespace) -> ReplicaModel:
    """Steps of equal length, whatever is in them."""
    step = StepModel.of_length(options.step_ms / 1000, verified=1.0 + options.mtp_depth)
    scheduler = SchedulerSpec(
        max_num_seqs=options.streams,
        max_num_batched_tokens=options.streams * (65 + options.mtp_depth),
        max_model_len=4096,
        cache=CacheSpec(pages=1_000_000, page_tokens=16),
        mtp_depth=options.mtp_depth,
        acceptance=0.8,
    )
    return ReplicaModel(step, scheduler)


def _wait(port: int) -> None:
    for _ in range(400):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
        except OSError:
            time.sleep(0.025)
        else:
            return
    raise SystemExit("the simulated engine did not start")


async def _load(ports: list[int], options: argparse.Namespace) -> int:
    body = json.dumps(
        {
            "model": MODEL,
            "prompt": list(range(64)),
            "max_tokens": options.tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    loop = asyncio.get_running_loop()
    streams = []
    for number in range(options.streams):
        port = ports[number % len(ports)]
        _, stream = await loop.create_connection(lambda: Stream(request), "127.0.0.1", port)
        streams.append(stream)
    await asyncio.gather(*(stream.done for stream in streams))
    return sum(stream.chunks for stream in streams)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _lag_ms(port: int) -> float:
    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    values = {}
    for line in page.splitlines():
        if line.startswith("headrace_simulated_lag_seconds_"):
            name, _, value = line.rpartition(" ")
            values[name.partition("{")[0].rpartition("_")[2]] = float(value)
    return 1000 * values["sum"] / max(1.0, values["count"])


if __name__ == "__main__":
    main()
