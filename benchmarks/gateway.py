"""What a gateway costs: the same streams straight to the servers, through Envoy, through HAProxy.

    python benchmarks/gateway.py [--streams 1000] [--seconds 10] [--load paced] [--own-core]
        [--haproxy]

The servers pace every stream themselves, so what is lost or late was lost or late on the way.
Servers, gateway and client share one machine's cores, so two loads are measured. paced: all streams
are open, but a chunk comes every 250 ms only, and cores are to spare: what a gateway adds.
saturated: a chunk every 46 ms, about what two cores carry: every microsecond of the gateway may be
one that the servers and the client lack. With `--own-core` the gateway has the first core for
itself and the rest shares the others, in the direct way too: its cost where cores are not shared.

Prints medians: output tok/s, TTFT, processor time per chunk of servers, gateway and client, and how
evenly the servers were loaded (most open streams over the mean, sampled twice a second). Needs a C
compiler, and HAProxy (Debian: haproxy) for `--haproxy`. About 3.5 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.loadgen.run import run_bench
from headrace.loadgen.spec import BenchSpec
from headrace.node.job import GatewaySpec, NodeJob, ProcessSpec, ReplicaSpec
from headrace.node.ports import free_port
from headrace.sampling import Sampling
from headrace.targets.local.fleet import start, wait_ready

CORES = sorted(os.sched_getaffinity(0))
SOURCE = Path(__file__).parent / "paced_server.c"
HAPROXY = """
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    balance leastconn
    retries 2
    timeout connect 1s
    timeout client 1h
    timeout server 1h
frontend openai
    bind 127.0.0.1:{port}
    default_backend replicas
backend replicas
    option http-no-delay
    http-reuse safe
    option httpchk GET /health
{servers}
"""


@dataclass(frozen=True)
class Pace:
    """How the servers stream, and how often each way is measured."""

    itl_ms: float
    output_tokens: int
    repetitions: int


PACES = {"paced": Pace(250.0, 32, 3), "saturated": Pace(46.0, 64, 1)}


@dataclass(frozen=True)
class Row:
    """One measurement through one way."""

    tok_s: float
    ttft_p50_ms: float
    ttft_p99_ms: float
    servers_us: float
    gateway_us: float
    client_us: float
    """Processor time per chunk."""
    imbalance: float


def main() -> None:
    """Measure every load in turn."""
    options = _options()
    for name in options.load or PACES:
        pace = PACES[name]
        rows = _measure_all(pace, options)
        print(
            f"{name}: {options.streams} streams, {options.servers} servers, a chunk every "
            f"{pace.itl_ms:g} ms, true TTFT {options.ttft_ms:g} ms; medians of {pace.repetitions}"
        )
        _print(rows)


def _measure_all(pace: Pace, options: argparse.Namespace) -> dict[str, list[Row]]:
    """Every way in turn, several times over."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["HEADRACE_STATE_DIR"] = f"{name}/state"
        folder = Path(name)
        with start(_job(folder, pace, options), attached=True) as fleet:
            ready = wait_ready(fleet)
            servers = [replica.url for replica in ready.replicas]
            pids = [replica.pid for replica in ready.replicas if replica.pid]
            assert ready.gateway is not None
            ways: dict[str, tuple[list[str], list[int]]] = {
                "direct": (servers, []),
                "Envoy": ([ready.gateway.url], [ready.gateway.pid or 0]),
            }
            with _haproxy(folder, servers, options.haproxy) as haproxy:
                if haproxy:
                    ways["HAProxy"] = haproxy
                if options.own_core:
                    _part(pids, [pid for _, gateway in ways.values() for pid in gateway])
                rows: dict[str, list[Row]] = {way: [] for way in ways}
                for number in range(pace.repetitions):
                    for way, (urls, gateway) in ways.items():
                        meters = _Meters(servers, pids, gateway)
                        out = folder / f"{way}-{number}"
                        rows[way].append(_measure(_spec(urls, pace, options), meters, out))
    return rows


def _part(servers: list[int], gateways: list[int]) -> None:
    """The first core for the gateways, the others for the servers and this process' children."""
    first, *others = CORES
    if not others:
        raise HeadraceError("--own-core needs two cores or more", hint="leave it out")
    for pid in gateways:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {first})
    for pid in [*servers, 0]:
        os.sched_setaffinity(pid, others)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--servers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--ttft-ms", type=float, default=300.0)
    parser.add_argument("--load", choices=PACES, action="append", help="default: both")
    parser.add_argument("--own-core", action="store_true", help="a core for the gateway alone")
    parser.add_argument("--haproxy", action="store_true", help="measure HAProxy as well")
    return parser.parse_args()


def _spec(urls: list[str], pace: Pace, options: argparse.Namespace) -> BenchSpec:
    return BenchSpec(
        urls=urls,
        model="model",
        input_tokens=64,
        output_tokens=pace.output_tokens,
        concurrency=options.streams,
        duration_s=options.seconds,
    )


def _job(folder: Path, pace: Pace, options: argparse.Namespace) -> NodeJob:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise HeadraceError("no C compiler for the paced server", hint="install gcc or clang")
    binary = folder / "paced_server"
    subprocess.run([compiler, "-O2", "-o", str(binary), str(SOURCE)], check=True)
    times = [str(int(ms * 1000)) for ms in (options.ttft_ms, pace.itl_ms)]
    processes = []
    for number in range(options.servers):
        port, name = free_port("127.0.0.1"), f"r{number}"
        replica = ReplicaSpec(id=name, url=f"http://127.0.0.1:{port}", gpus=[])
        processes.append(
            ProcessSpec(
                name=name,
                engine="simulated",
                argv=[str(binary), str(port), *times],
                env={},
                log=folder / "logs" / f"{name}.log",
                replicas=[replica],
            )
        )
    return NodeJob(
        fleet="paced",
        run_dir=folder,
        node="local",
        processes=processes,
        gateway=GatewaySpec(policy="least-request"),
        start_timeout_s=30,
        drain_timeout_s=5,
    )


@contextmanager
def _haproxy(
    folder: Path, servers: list[str], wanted: bool
) -> Iterator[tuple[list[str], list[int]] | None]:
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if not wanted:
        yield None
        return
    if program is None:
        raise HeadraceError("HAProxy is not installed", hint="apt-get install haproxy")
    port = free_port("127.0.0.1")
    lines = [
        f"    server r{number} {url.removeprefix('http://')} check inter 1s"
        for number, url in enumerate(servers)
    ]
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, servers="\n".join(lines)), encoding="ascii")
    process = subprocess.Popen([program, "-db", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        time.sleep(2)
        yield [f"http://127.0.0.1:{port}"], [process.pid]
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class _Meters:
    """Who is asked for chunks and open streams, and whose processor time counts."""

    urls: list[str]
    servers: list[int]
    gateway: list[int]

    def read(self) -> tuple[int, float, float]:
        """Chunks sent, processor seconds of the servers and of the gateway, so far."""
        chunks = sum(int(stats["chunks"]) for stats in _stats(self.urls))
        return chunks, _cpu_s(self.servers), _cpu_s(self.gateway)


def _stats(servers: list[str]) -> list[dict[str, float]]:
    return [json.load(urllib.request.urlopen(f"{url}/stats")) for url in servers]


def _measure(spec: BenchSpec, meters: _Meters, out: Path) -> Row:
    """Processor time is shared among all chunks, those of the ramp too: it covers that as well."""
    with _Balance(meters.urls) as balance:
        before = meters.read()
        summary = run_bench(spec, out)
        after = meters.read()
    chunks, servers_s, gateway_s = (late - early for early, late in zip(before, after, strict=True))
    latency = summary.latency_ms
    if latency is None or summary.requests.failed:
        raise HeadraceError(f"{spec.urls[0]}: {summary.requests.failed} requests failed")
    return Row(
        tok_s=summary.throughput.output_tok_s,
        ttft_p50_ms=latency.ttft.p50,
        ttft_p99_ms=latency.ttft.p99,
        servers_us=1e6 * servers_s / max(1, chunks),
        gateway_us=1e6 * gateway_s / max(1, chunks),
        client_us=1e6 / max(1.0, summary.client.chunks_per_cpu_s),
        imbalance=balance.median(),
    )


def _cpu_s(pids: list[int]) -> float:
    """Processor seconds that processes have used."""
    ticks = 0
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(stat[11]) + int(stat[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class _Balance(Sampling):
    """Samples how many streams each server holds, in a thread."""

    def __init__(self, servers: list[str]) -> None:
        super().__init__()
        self._servers = servers
        self._seen: list[float] = []

    def median(self) -> float:
        """Of the second half: the load stands by then."""
        return statistics.median(self._seen[len(self._seen) // 2 :])

    def _sample(self) -> None:
        for _ in self._every(0.5):
            running = [found["open"] for found in _stats(self._servers)]
            if sum(running):
                self._seen.append(max(running) / statistics.mean(running))


def _print(rows: dict[str, list[Row]]) -> None:
    print(f"{'':57} us of processor per chunk")
    head = f"{'way':8} {'out tok/s':>10} {'loss':>7} {'TTFT p50':>9} {'added':>9} {'p99':>9}"
    print(f"{head} {'servers':>8} {'way':>5} {'client':>6} {'max/mean':>9}")

    def middle(way: str, name: str) -> float:
        return float(statistics.median(getattr(row, name) for row in rows[way]))

    base_tok_s, base_ms = middle("direct", "tok_s"), middle("direct", "ttft_p50_ms")
    for way in rows:
        tok_s, ttft = middle(way, "tok_s"), middle(way, "ttft_p50_ms")
        print(
            f"{way:8} {tok_s:10,.0f} {1 - tok_s / base_tok_s:7.2%} {ttft:6.1f} ms "
            f"{ttft - base_ms:6.2f} ms {middle(way, 'ttft_p99_ms'):6.1f} ms "
            f"{middle(way, 'servers_us'):8.1f} {middle(way, 'gateway_us'):5.1f} "
            f"{middle(way, 'client_us'):6.1f} {middle(way, 'imbalance'):9.3f}"
        )
    for way in list(rows)[1:]:
        cores = middle(way, "tok_s") * middle(way, "gateway_us") / 1e6
        print(f"{way} used {cores:.2f} of a core")


if __name__ == "__main__":
    main()
