"""A run's folder with made-up figures, written with the load generator's own writers.

Nothing in it was measured: a closed loop of requests whose times are drawn from a seeded generator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headrace.loadgen import metrics
from headrace.loadgen import records as loadgen
from headrace.loadgen.failure import End
from headrace.loadgen.schedule import Phase
from headrace.loadgen.summary import (
    Client,
    Concurrency,
    Goodput,
    Lag,
    PlanComparison,
    Requests,
    Summary,
)
from headrace.planner.plan import (
    Choice,
    Layout,
    MemoryBytes,
    ParetoPoint,
    Plan,
    Prediction,
    Rejected,
)
from headrace.spec.fleet import Fleet
from headrace.targets.deployment import Deployment, GatewayState, Replica

GIB = 2.0**30


@dataclass(frozen=True)
class Story:
    """What the made-up run was like."""

    replicas: int = 8
    in_flight: int = 48
    input_tokens: int = 1024
    output_tokens: int = 512
    ttft_s: float = 0.9
    tpot_s: float = 0.046
    duration_s: float = 60.0
    failures: int = 3
    engine: str = "simulated"
    seed: int = 1
    invalid_reasons: tuple[str, ...] = ()

    @property
    def warm_s(self) -> float:
        return self.ttft_s + self.tpot_s * self.output_tokens


def write_run(folder: Path, story: Story | None = None, *, plan: bool = True) -> Path:
    """Write a whole run's folder, and return it."""
    story = story or Story()
    folder.mkdir(parents=True)
    made = make_records(story)
    counted = _counted(made, story)
    loadgen.write_records(made, counted, folder / "records.parquet")
    loadgen.write_timeline(made, folder / "timeline.parquet")
    summary = make_summary(story, made, counted)
    if plan:
        planned = make_plan(story)
        summary = summary.model_copy(update={"plan": _comparison(summary, planned)})
        (folder / "plan.json").write_text(planned.model_dump_json())
        (folder / "deployment.json").write_text(make_deployment(story, folder).model_dump_json())
    (folder / "summary.json").write_text(summary.model_dump_json())
    return folder


def make_records(story: Story) -> loadgen.Records:
    """A closed loop: each slot's first request is short (the warm-up), then whole ones follow."""
    rng = np.random.default_rng(story.seed)
    slots = story.replicas * story.in_flight
    replica = np.arange(slots) % story.replicas
    pace = 1 + 0.004 * replica
    stop_s = story.warm_s + story.duration_s
    now, rounds = rng.uniform(0, 0.2, slots), []
    tokens = np.linspace(1, story.output_tokens, slots).astype(int)
    while now.min() < stop_s:
        rows = np.zeros(slots, loadgen.ROW_DTYPE)
        first = now + rng.gamma(9.0, story.ttft_s / 9.0, slots)
        last = first + story.tpot_s * pace * rng.normal(1, 0.02, slots) * np.maximum(tokens - 1, 0)
        rows["sent_s"] = rows["scheduled_s"] = now
        rows["first_token_s"], rows["last_token_s"], rows["done_s"] = first, last, last + 0.001
        rows["phase"] = Phase.WARMUP if not rounds else Phase.MEASURED
        rows["asked_tokens"] = rows["output_tokens"] = rows["chunks"] = tokens
        rows["input_tokens"], rows["status"] = story.input_tokens, 200
        rows["replica"] = np.array([f"r{i}" for i in range(story.replicas)], "S16")[replica]
        rounds.append(rows[now < stop_s])
        now, tokens = rows["done_s"] + 0.002, np.full(slots, story.output_tokens)
    rows = np.concatenate(rounds)
    _fail(rows, story)
    _cut(rows, stop_s)
    arrivals = _ticks(rows, stop_s)
    return loadgen.Records(rows, np.zeros(len(rows), int), [np.zeros(0, "f4")], [arrivals], [])


def _fail(rows: np.ndarray, story: Story) -> None:
    measured = np.flatnonzero(rows["phase"] == Phase.MEASURED)[: story.failures]
    rows["end"][measured], rows["status"][measured] = End.CUT_STREAM, 200


def _cut(rows: np.ndarray, stop_s: float) -> None:
    late = rows["done_s"] > stop_s
    span = np.maximum(rows["last_token_s"] - rows["first_token_s"], 1e-9)
    share = np.clip((stop_s - rows["first_token_s"]) / span, 0, 1)
    rows["chunks"] = np.where(late, rows["chunks"] * share, rows["chunks"])
    for name in ("input_tokens", "output_tokens"):
        rows[name][late] = 0
    silent = late & (rows["first_token_s"] > stop_s)
    rows["last_token_s"] = np.where(
        late, np.minimum(rows["last_token_s"], stop_s), rows["last_token_s"]
    )
    for name in ("first_token_s", "last_token_s"):
        rows[name][silent] = np.nan
    rows["done_s"] = np.where(late, stop_s, rows["done_s"])
    rows["end"] = np.where(late, End.CUT, rows["end"])


def _ticks(rows: np.ndarray, stop_s: float) -> np.ndarray:
    """Samples of (at_s, cpu_s, chunks, running, completed, failed), each tenth of a second."""
    at = np.arange(0.1, stop_s + 0.1, 0.1)
    spread = [rows[~np.isnan(rows["last_token_s"])]]
    live = spread[0]
    span = np.maximum(live["last_token_s"] - live["first_token_s"], 1e-9)
    chunks = [
        (np.clip((t - live["first_token_s"]) / span, 0, 1) * live["chunks"]).sum() for t in at
    ]
    running = [((rows["sent_s"] <= t) & (rows["done_s"] > t)).sum() for t in at]
    done = [(rows["done_s"] <= t).sum() for t in at]
    return np.stack([at, at * 0.4, chunks, running, done, np.zeros(len(at))], axis=1).astype(float)


def _counted(made: loadgen.Records, story: Story) -> np.ndarray:
    done_s = made.rows["done_s"]
    inside = (done_s >= story.warm_s) & (done_s <= story.warm_s + story.duration_s)
    return made.in_phase(Phase.MEASURED) & made.ended(End.OK) & inside


def make_summary(story: Story, made: loadgen.Records, counted: np.ndarray) -> Summary:
    """The figures of the made-up requests, counted as the load generator counts them."""
    times = metrics.request_times(made, counted, open_loop=False)
    tokens, done = metrics.tokens(made, counted), int(counted.sum())
    gaps = np.random.default_rng(story.seed).gamma(60.0, story.tpot_s / 60.0, 20_000)
    slots = story.replicas * story.in_flight
    rates = metrics.throughput(tokens, done, story.duration_s)
    chunks = int(made.rows["chunks"].sum())
    return Summary(
        valid=not story.invalid_reasons,
        invalid_reasons=list(story.invalid_reasons),
        engine=story.engine,
        model="Qwen/Qwen3.5-27B-FP8",
        requests=Requests(
            asked=done + story.failures,
            completed=done,
            failed=story.failures,
            errors={"cut_stream": story.failures} if story.failures else {},
            warmup=slots,
            cut=int(made.ended(End.CUT).sum()),
        ),
        duration_s=story.duration_s,
        tokens=tokens,
        throughput=rates,
        latency_ms=metrics.latency(times, gaps.astype("f4")),
        concurrency=Concurrency(asked=slots, mean=slots - 0.4, max=slots),
        client=Client(
            processes=1,
            cpu_s=27.4,
            chunks=chunks,
            chunks_per_cpu_s=chunks / 27.4,
            lag_ms=Lag(p50=0.2, p99=1.9),
        ),
        goodput=Goodput(request_s=rates.request_s, share=1.0, slo={"ttft_p99_ms": 10_000.0}),
        usd_per_million_tokens=3.75 * story.replicas / 3600 / rates.total_tok_s * 1e6,
        per_replica=metrics.per_replica(made, counted),
        environment=_environment(story),
    )


def _environment(story: Story) -> dict[str, Any]:
    return {
        "headrace": "0.1.0",
        "date": "2026-01-02T03:04:05+00:00",
        "platform": "Linux 6.8 x86_64 (made up)",
        "cpus": 2,
        "load": {
            "urls": 1,
            "input_tokens": story.input_tokens,
            "output_tokens": story.output_tokens,
            "concurrency": story.replicas * story.in_flight,
            "duration_s": story.duration_s,
            "processes": 1,
            "seed": story.seed,
        },
    }


def make_plan(story: Story) -> Plan:
    """A plan that predicts a little more than the story measures."""
    slots = story.replicas * story.in_flight
    request_s = 1.03 * slots / story.warm_s
    total = request_s * (story.input_tokens + story.output_tokens)
    kind = "simulated" if story.engine == "simulated" else "vllm"
    return Plan(
        headrace_version="0.1.0",
        fleet=Fleet.model_validate(
            {
                "name": "made-up",
                "model": "Qwen/Qwen3.5-27B-FP8",
                "hardware": {"gpu": "B200", "gpus_per_node": story.replicas},
                "workload": {
                    "input_tokens": story.input_tokens,
                    "output_tokens": story.output_tokens,
                },
                "slo": {"ttft_p99_ms": 10_000, "tpot_p99_ms": 60},
                "engine": {"kind": kind},
            }
        ),
        model="Qwen/Qwen3.5-27B-FP8",
        parameters=26_000_000_000,
        gpu="B200",
        usd_per_gpu_hour=3.75,
        chosen=_choice(story, total, request_s),
        simulation={},
        pareto=_front(total / story.replicas, story.tpot_s * 1e3 / 1.03),
        rejected=[
            Rejected(config=_config(tp, mtp), reason=f"{-6.5 * tp - mtp:+.1f} % tok/s (made up)")
            for tp in (1, 2, 4)
            for mtp in (1, 2, 3, 5)
        ],
        searched=4_608,
        elapsed_s=0.61,
    )


def _choice(story: Story, total: float, request_s: float) -> Choice:
    return Choice(
        layout=Layout(
            tensor_parallel=1,
            replicas=story.replicas,
            gpus=story.replicas,
            nodes=1,
            replicas_per_node=story.replicas,
        ),
        engine_args={
            "max_model_len": 4096,
            "max_num_seqs": story.in_flight,
            "max_num_batched_tokens": 8192,
            "kv_cache_dtype": "fp8",
            "mamba_ssm_cache_dtype": "bfloat16",
            "enable_prefix_caching": False,
        },
        command="vllm serve Qwen/Qwen3.5-27B-FP8 --max-num-seqs 48 --kv-cache-dtype fp8",
        prediction=Prediction(
            total_tok_s=total,
            total_tok_s_per_gpu=total / story.replicas,
            output_tok_s=request_s * story.output_tokens,
            request_s=request_s,
            tpot_ms=story.tpot_s * 1e3 / 1.03,
            tpot_p99_ms=story.tpot_s * 1.08e3,
            ttft_ms=story.ttft_s * 1e3 * 0.95,
            ttft_p99_ms=story.ttft_s * 2.1e3,
            concurrency_per_replica=story.in_flight,
            usd_per_million_tokens=3.75 * story.replicas / 3600 / total * 1e6,
            low_total_tok_s=total * 0.85,
            high_total_tok_s=total * 1.15,
        ),
        memory_bytes=MemoryBytes(
            weights=28.1 * GIB,
            kv_per_token=32 * 1024.0,
            state_per_sequence=75.5e6,
            activations=5.2 * GIB,
            free=129.6 * GIB,
        ),
        bound_by="matrix multiplication (48 % of a step)",
        why=[
            "a mean step takes 44.6 ms: matrix multiplication 48 %, recurrent-state updates 27 %",
            "the cache holds 1,103 sequences of 1,536 tokens; 48 are in flight",
            "tensor parallel 1; tok/s at best with 2 -9.4 %, 4 -21.8 %",
            "KV cache fp8; tok/s at best with bf16 -2.1 %",
            "bfloat16 state rounds the recurrence; check your own accuracy metric first",
        ],
        max_running=story.in_flight,
    )


def _config(tensor_parallel: int, mtp: int) -> dict[str, Any]:
    return {
        "tensor_parallel": tensor_parallel,
        "kv_dtype": "fp8",
        "max_num_seqs": 256,
        "mtp_depth": mtp,
    }


def _front(rate: float, tpot_ms: float) -> list[ParetoPoint]:
    return [
        ParetoPoint(
            total_tok_s_per_gpu=rate * (1.03 - 0.9 * (1 - x) ** 2),
            tpot_ms=tpot_ms * (0.2 + 1.1 * x),
            config=_config(1, 3 if x < 0.5 else 0),
        )
        for x in np.linspace(0, 1, 14)
    ]


def _comparison(summary: Summary, plan: Plan) -> PlanComparison | None:
    p, latency = plan.chosen.prediction, summary.latency_ms
    if latency is None:
        return None
    return PlanComparison(
        predicted_total_tok_s=p.total_tok_s,
        predicted_output_tok_s=p.output_tok_s,
        predicted_tpot_ms=p.tpot_ms,
        predicted_ttft_ms=p.ttft_ms,
        total_tok_s_ratio=summary.throughput.total_tok_s / p.total_tok_s,
        tpot_ratio=latency.tpot.mean / p.tpot_ms,
        ttft_ratio=latency.ttft.mean / p.ttft_ms,
    )


def make_deployment(story: Story, folder: Path) -> Deployment:
    """The fleet after it was stopped."""
    return Deployment(
        fleet="made-up",
        engine="simulated" if story.engine == "simulated" else "vllm",
        run_dir=str(folder),
        agent_pid=1,
        started_at="2026-01-02T03:03:00+00:00",
        replicas=[
            Replica(id=f"r{i}", node="local", url=f"http://127.0.0.1:{9000 + i}", state="stopped")
            for i in range(story.replicas)
        ],
        gateway=GatewayState(url="http://127.0.0.1:8000", metrics_url="", state="stopped"),
    )


SMALL = Story(replicas=2, in_flight=4, output_tokens=64, duration_s=10.0)
REAL = replace(SMALL, engine="vllm 0.33.0")
