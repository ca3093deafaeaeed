"""A simulated fleet under a steady load for a long time: does anything grow?

    python benchmarks/soak.py [--minutes 60] [--chunks-s 10000]

Samples memory and open files of every process (agent, keepers, engines, Envoy, the load generator)
every ten seconds. Growth is the median of the last tenth over that of the tenth after the first
fifth, in which caches and pools fill. Exits with 1 when memory grew by more than 5 %, or files at
all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from headrace.cli.plan import plan_for
from headrace.loadgen.run import run_bench
from headrace.loadgen.spec import BenchSpec
from headrace.sampling import Sampling
from headrace.spec.load import load_fleet
from headrace.targets.local.fleet import start, wait_ready
from headrace.targets.local.job import plan_job

PERIOD_S = 10.0
OUTPUT_TOKENS = 256
ALLOWED = 1.05
SPARE_FILES = 8
"""Connections come and go: the last tenth may hold a few more than the first."""
FLEET = """
name: soak
model: Qwen/Qwen3.5-27B-FP8
hardware: {{gpu: B200, nodes: 1, gpus_per_node: 8}}
workload:
  {{input_tokens: 256, output_tokens: {output}, concurrency: {streams}, acceptance: {{mtp: 0}}}}
engine:
  kind: simulated
  args:
    tensor_parallel_size: 1
"""


@dataclass
class Process:
    """What one process held at every sample."""

    name: str
    rss_kb: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)


def main() -> None:
    """Start, load, sample, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--chunks-s", type=float, default=10_000.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HEADRACE_STATE_DIR"] = f"{name}/state"
        file = folder / "soak.yaml"
        file.write_text(FLEET.format(output=OUTPUT_TOKENS, streams=128), encoding="ascii")
        plan = plan_for(load_fleet(file), file)
        with start(plan_job(plan, folder / "run", processes=2), attached=True) as fleet:
            ready = wait_ready(fleet)
            spec = BenchSpec(
                urls=ready.urls,
                model=plan.model,
                input_tokens=256,
                output_tokens=OUTPUT_TOKENS,
                request_rate=options.chunks_s / OUTPUT_TOKENS,
                duration_s=options.minutes * 60.0,
            )
            sampler = Sampler(os.getpid())
            with sampler:
                summary = run_bench(spec, folder / "bench")
    rate = summary.client.chunks / (options.minutes * 60.0)
    print(f"{options.minutes:g} min, {rate:,.0f} chunks/s, {summary.requests.completed:,} requests")
    print(f"{summary.requests.failed} failed")
    sys.exit(0 if judge(sampler.seen) and not summary.requests.failed else 1)


class Sampler(Sampling):
    """Looks at a process and all its descendants, in a thread."""

    def __init__(self, root: int) -> None:
        super().__init__()
        self.seen: dict[int, Process] = {}
        self._root = root

    def _sample(self) -> None:
        for _ in self._every(PERIOD_S):
            for pid in family(self._root):
                self._look(pid)

    def _look(self, pid: int) -> None:
        entry = Path("/proc") / str(pid)
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            pages = int((entry / "statm").read_text(encoding="ascii").split()[1])
            files = len(list((entry / "fd").iterdir()))
        except (OSError, IndexError):
            return
        names = [Path(word.decode(errors="replace")).name for word in words if word]
        label = next((n for n in names if "." in n or n == "envoy"), names[0] if names else "?")
        process = self.seen.setdefault(pid, Process(label))
        process.rss_kb.append(pages * os.sysconf("SC_PAGE_SIZE") // 1024)
        process.files.append(files)


def family(root: int) -> Iterator[int]:
    """A process and everything below it."""
    yield root
    try:
        below = Path(f"/proc/{root}/task/{root}/children").read_text(encoding="ascii").split()
    except OSError:
        return
    for pid in below:
        yield from family(int(pid))


def judge(seen: dict[int, Process]) -> bool:
    """Print every process's growth; whether none of it is a leak."""
    good = True
    print(f"{'process':32} {'MB first':>9} {'MB last':>9} {'growth':>7} {'files':>11}")
    for process in seen.values():
        (first_kb, last_kb), (first_files, last_files) = (
            ends(process.rss_kb),
            ends(process.files),
        )
        growth = last_kb / first_kb
        leaks = growth > ALLOWED or last_files > first_files + SPARE_FILES
        good = good and not leaks
        print(
            f"{process.name:32} {first_kb / 1024:9.1f} {last_kb / 1024:9.1f} {growth - 1:7.1%} "
            f"{first_files:5.0f} {last_files:5.0f}{'  LEAK' if leaks else ''}"
        )
    return good


def ends(values: list[int]) -> tuple[float, float]:
    """Medians of a tenth of the samples after the first fifth, and of the last tenth."""
    tenth = max(1, len(values) // 10)
    begin = len(values) // 5
    return statistics.median(values[begin : begin + tenth]), statistics.median(values[-tenth:])


if __name__ == "__main__":
    main()
