"""One measurement from its spec to its files."""

from __future__ import annotations

import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from headrace.errors import InputError
from headrace.files import replace_file
from headrace.loadgen import metrics
from headrace.loadgen.coordinator import Course, Watch
from headrace.loadgen.environment import environment
from headrace.loadgen.failure import End
from headrace.loadgen.prepare import Prepared, prepare
from headrace.loadgen.progress import Progress
from headrace.loadgen.records import (
    Mask,
    Records,
    load_records,
    write_chunks,
    write_records,
    write_timeline,
)
from headrace.loadgen.schedule import Phase
from headrace.loadgen.scrape import Reading, Scrape, sum_up, write_scrape
from headrace.loadgen.share import make_jobs
from headrace.loadgen.simulated import fell_behind, given_up_s
from headrace.loadgen.spec import BenchSpec
from headrace.loadgen.summary import Client, Concurrency, Requests, Summary
from headrace.loadgen.team import Agents, Team
from headrace.loadgen.validity import Evidence, invalid_reasons
from headrace.loadgen.window import Window, find_window, mean_running, most_running

ALWAYS = ("summary.json", "records.parquet", "timeline.parquet")
AT_TIMES = ("chunks.parquet", "server.parquet")
SPARE_FILES = 64
LEAD_S, REMOTE_LEAD_S = 0.05, 0.5
"""How long before the start workers are told of it."""


def run_bench(
    spec: BenchSpec,
    out_dir: Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    force: bool = False,
    agents: Agents | None = None,
) -> Summary:
    """Load the servers, write summary.json, records.parquet and timeline.parquet, and sum up.

    `agents` are further machines that load along. Setting `stop` ends the load early; the files
    are complete and the summary says `interrupted`. Raises InputError when the input is wrong or
    files are in the way, HeadraceError when a server cannot be reached or the workers cannot
    start. Requests that fail raise nothing: they are counted.
    """
    _check_room(out_dir, spec, force=force)
    ready = prepare(spec)
    behind_s = _behind_s(ready, ready.engine)
    folder = _work_folder(out_dir)
    try:
        helpers = agents or Agents()
        measured = _measure(ready, folder, helpers, progress, stop or threading.Event())
        course = measured.course
        after_s = _behind_s(ready, measured.engine)
        span_s = course.stop_s - course.start_s
        course.troubles.extend(fell_behind(behind_s, after_s, span_s))
        return _write(ready.spec, measured, out_dir)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Measured:
    """What a load left."""

    records: Records
    course: Course
    engine: str
    examples: dict[str, str]
    readings: list[Reading]


def _measure(
    ready: Prepared,
    folder: Path,
    agents: Agents,
    progress: Callable[[Progress], None] | None,
    stop: threading.Event,
) -> Measured:
    spec = ready.spec
    samples = ready.samples_file(folder)
    total = spec.model_copy(update={"processes": spec.processes + agents.processes})
    jobs = make_jobs(total, ready.endpoints, folder, samples=samples, words=ready.words)
    scrape = Scrape(ready.endpoints, ready.key, spec.scrape_s)
    with Team(jobs, agents, samples) as team, scrape:
        team.await_ready()
        start_s = time.perf_counter() + (REMOTE_LEAD_S if agents.members else LEAD_S)
        team.go(start_s)
        course = Watch(spec, team, start_s, progress).until_over(stop)
        starts_s = team.starts(start_s)
    records = load_records(folder, starts_s)
    engine = "simulated" if course.simulated else ready.engine
    return Measured(records, course, engine, _examples(folder), scrape.readings)


def _behind_s(ready: Prepared, engine: str) -> float:
    """How far simulated engines are behind their schedule; 0 for real ones."""
    return given_up_s(ready.endpoints, ready.key) if engine == "simulated" else 0.0


def _check_room(out_dir: Path, spec: BenchSpec, *, force: bool) -> None:
    """No file is overwritten unasked, and the connections fit into the process limits."""
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"{out_dir} is a file", hint="name a folder with --output")
    there = [name for name in (*ALWAYS, *AT_TIMES) if (out_dir / name).exists()]
    if there and not force:
        raise InputError(
            f"{out_dir / there[0]} exists already", hint="choose another --output, or pass --force"
        )
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    each = -(-(spec.concurrency or 1) // spec.processes)
    if files != resource.RLIM_INFINITY and each + SPARE_FILES > files:
        raise InputError(
            f"--concurrency {spec.concurrency}: {each} connections per process, but a process may "
            f"open {files} files",
            hint="raise --processes, or the limit (ulimit -Hn)",
        )


def _work_folder(out_dir: Path) -> Path:
    """Where the workers' files lie until they are merged."""
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".bench-", dir=out_dir))
    except OSError as error:
        raise InputError(
            f"cannot write to {out_dir}: {error.strerror}", hint="choose another --output"
        ) from error


def _examples(folder: Path) -> dict[str, str]:
    """What servers said when requests failed: the first answer of each kind."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("examples-*.json")):
        for kind, text in orjson.loads(path.read_bytes()).items():
            found.setdefault(kind, text)
    return found


def _write(spec: BenchSpec, measured: Measured, out_dir: Path) -> Summary:
    records, course = measured.records, measured.course
    warm_s = None if course.warm_s is None else course.warm_s - course.start_s
    stop_s = course.stop_s - course.start_s
    window = find_window(records, warm_s, spec.duration_s, stop_s)
    summary = summarize(
        spec, records, window, measured.engine, course.troubles, measured.examples
    ).model_copy(update={"server": sum_up(measured.readings, course.start_s, window)})
    for name in AT_TIMES:
        (out_dir / name).unlink(missing_ok=True)
    write_records(records, window.completed, out_dir / "records.parquet")
    write_timeline(records, out_dir / "timeline.parquet")
    write_scrape(measured.readings, course.start_s, out_dir / "server.parquet")
    if spec.per_chunk:
        write_chunks(records, window.completed, out_dir / "chunks.parquet")
    replace_file(out_dir / "summary.json", summary.model_dump_json(indent=2) + "\n")
    return summary


def summarize(
    spec: BenchSpec,
    records: Records,
    window: Window,
    engine: str,
    troubles: list[str],
    examples: dict[str, str],
) -> Summary:
    """The figures of one window of the records."""
    open_loop = spec.open_loop
    times = metrics.request_times(records, window.completed, open_loop=open_loop)
    latency = metrics.latency(times, records.gaps_by_row(window.completed))
    counted = metrics.tokens(records, window.completed)
    completed, failed = int(window.completed.sum()), int(window.failed.sum())
    rates = metrics.throughput(counted, completed, window.duration_s)
    client, shares = _client(records, window)
    mean = mean_running(records, window)
    evidence = Evidence(
        completed=completed,
        failed=failed,
        duration_s=window.duration_s,
        cpu_shares=shares,
        client=client,
        latency=latency,
        concurrency_mean=mean,
        **_told(records, window),
        troubles=troubles,
        warmup_errors=metrics.errors(records, _failed_warmup(records)),
    )
    reasons = invalid_reasons(spec, evidence)
    return Summary(
        valid=not reasons,
        invalid_reasons=reasons,
        engine=engine,
        model=spec.model,
        requests=_requests(records, window, examples),
        duration_s=window.duration_s,
        tokens=counted,
        throughput=rates,
        latency_ms=latency,
        concurrency=Concurrency(
            asked=spec.concurrency, mean=mean, max=most_running(records, window)
        ),
        client=client,
        goodput=metrics.goodput(times, spec.slo, failed, window.duration_s),
        usd_per_million_tokens=_usd_per_million(spec.usd_per_hour, rates.total_tok_s),
        per_replica=metrics.per_replica(records, window.completed),
        chunks=metrics.chunks(records, window.completed),
        cached_input_tokens=int(
            records.rows["cached_tokens"][window.completed].sum(dtype=np.int64)
        ),
        ttfc_ms=metrics.ttfc(records, window.completed, open_loop=open_loop),
        environment=environment(spec),
    )


def _told(records: Records, window: Window) -> dict[str, Any]:
    """What was sent against what the servers counted, over completed requests."""
    rows = records.rows[window.completed]
    known = rows[rows["prompt_tokens"] > 0]
    chunks = int(rows["chunks"].sum(dtype=np.int64))
    output = int(rows["output_tokens"].sum(dtype=np.int64))
    return {
        "input_tokens": int(known["input_tokens"].sum(dtype=np.int64)),
        "prompt_tokens": int(known["prompt_tokens"].sum(dtype=np.int64)),
        "tokens_per_chunk": output / chunks if chunks else 1.0,
    }


def _failed_warmup(records: Records) -> Mask:
    ended_well = records.ended(End.OK) | records.ended(End.CUT)
    return records.in_phase(Phase.WARMUP) & ~ended_well


def _requests(records: Records, window: Window, examples: dict[str, str]) -> Requests:
    completed, failed = int(window.completed.sum()), int(window.failed.sum())
    return Requests(
        asked=completed + failed,
        completed=completed,
        failed=failed,
        errors=metrics.errors(records, window.failed),
        examples=examples,
        warmup=int(records.in_phase(Phase.WARMUP).sum()),
        cut=int(records.ended(End.CUT).sum()),
    )


def _client(records: Records, window: Window) -> tuple[Client, list[float]]:
    """What the load generator spent, and each worker's share of a processor in the window."""
    cpu_s = metrics.spent(records, "cpu_s", window)
    chunks, untimed, vague, compiled = (
        round(sum(metrics.spent(records, field, window)))
        for field in ("chunks", "untimed", "vague", "compiled")
    )
    client = Client(
        processes=len(cpu_s),
        cpu_s=sum(cpu_s),
        chunks=chunks,
        chunks_per_cpu_s=chunks / sum(cpu_s) if sum(cpu_s) > 0 else 0.0,
        lag_ms=metrics.lag(records, window),
        kernel_timed=1 - untimed / chunks if chunks else 0.0,
        vague=vague / chunks if chunks else 0.0,
        compiled=compiled / chunks if chunks else 0.0,
    )
    span_s = window.duration_s
    return client, [spent / span_s if span_s > 0 else 0.0 for spent in cpu_s]


def _usd_per_million(usd_per_hour: float | None, total_tok_s: float) -> float | None:
    if usd_per_hour is None or total_tok_s <= 0:
        return None
    return usd_per_hour / (total_tok_s * 3600) * 1e6
