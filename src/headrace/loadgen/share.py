"""From what was asked to each worker's job."""

from __future__ import annotations

import os
from math import log
from pathlib import Path

from headrace.loadgen.endpoint import Endpoint
from headrace.loadgen.job import Access, Arrivals, Job, Traffic
from headrace.loadgen.schedule import WARMUP_SHARE
from headrace.loadgen.spec import BenchSpec
from headrace.loadgen.words import Words
from headrace.spec.lengths import Fixed, as_lengths

THINK_TABLE = 1024


def make_jobs(
    spec: BenchSpec,
    endpoints: list[Endpoint],
    folder: Path,
    *,
    samples: Path | None = None,
    words: Words | None = None,
) -> list[Job]:
    """Each worker's share; no more workers than there is work for."""
    workers = _workers(spec, len(endpoints))
    traffic = make_traffic(spec, samples, words)
    cpus = worker_cpus(spec.cpus, workers)
    return [
        Job(
            index=index,
            workers=workers,
            folder=str(folder),
            endpoints=endpoints,
            traffic=traffic,
            arrivals=_arrivals(spec),
            access=_access(spec),
            requests=spec.requests,
            warmup_s=_warmup_s(spec),
            spread=spec.start == "spread" and spec.replay_speed is None,
            seed=spec.seed,
            cpu=cpus[index % len(cpus)] if cpus else None,
        )
        for index in range(workers)
    ]


def _workers(spec: BenchSpec, servers: int) -> int:
    """No more than lanes; and where they are refilled together, one for all lanes to a server."""
    most = min(spec.processes, spec.concurrency or spec.processes)
    if spec.refill == 1:
        return most
    return next(count for count in range(most, 0, -1) if servers % count == 0)


def worker_cpus(asked: list[int] | None, workers: int) -> list[int]:
    """Processors to pin to: those asked for; else one each, where there are more than workers.

    The first allowed processor is left to the coordinator and to interrupts.
    """
    if asked is not None or not hasattr(os, "sched_getaffinity"):
        return asked or []
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[-workers:] if len(allowed) > max(workers, 2) else []


def make_traffic(spec: BenchSpec, samples: Path | None, words: Words | None) -> Traffic:
    """What requests ask for."""
    return Traffic(
        model=spec.model,
        loras=spec.loras,
        chat=spec.endpoint == "chat",
        input_table=_table(spec.input_tokens),
        output_table=_table(spec.output_tokens),
        prefix_hit_rate=spec.prefix_hit_rate,
        prefix_groups=spec.prefix_groups,
        token_ids=spec.token_ids,
        words=words.words if words else [],
        overhead_tokens=words.overhead_tokens if words else 0,
        turns_table=_table(spec.turns),
        think_table_ms=_think_table(spec.think_s),
        samples=str(samples) if samples else "",
        ignore_eos=spec.ignore_eos,
        temperature=spec.temperature,
        body=spec.body,
    )


def _table(value: object) -> list[int]:
    lengths = as_lengths(value)  # type: ignore[arg-type]
    return [lengths.tokens] if isinstance(lengths, Fixed) else lengths.table()


def _think_table(mean_s: float) -> list[int]:
    """Equally likely pauses of an exponential distribution, in ms."""
    if not mean_s:
        return [0]
    places = ((place + 0.5) / THINK_TABLE for place in range(THINK_TABLE))
    return [round(-log(1 - share) * mean_s * 1e3) for share in places]


def _arrivals(spec: BenchSpec) -> Arrivals:
    ramp_s = spec.duration_s or 0.0 if spec.request_rate_to else spec.ramp_s
    return Arrivals(
        concurrency=spec.concurrency,
        rate=spec.request_rate,
        rate_to=spec.request_rate_to,
        ramp_s=ramp_s,
        refill=spec.refill,
        kind=spec.arrivals,
        burstiness=spec.burstiness,
        speed=spec.replay_speed,
    )


def _access(spec: BenchSpec) -> Access:
    return Access(
        api_key_env=spec.api_key_env,
        headers=spec.headers,
        header_envs=spec.header_envs,
        connect_timeout_s=spec.connect_timeout_s,
        stall_timeout_s=spec.stall_timeout_s,
        request_timeout_s=spec.request_timeout_s,
    )


def _warmup_s(spec: BenchSpec) -> float:
    if spec.request_rate is None or spec.start != "spread":
        return 0.0
    asked_s = spec.duration_s or (spec.requests or 0) / spec.request_rate
    return WARMUP_SHARE * asked_s
