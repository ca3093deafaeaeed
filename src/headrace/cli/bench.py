"""`headrace bench`: load any OpenAI-compatible server and measure it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.output import print_json
from headrace.errors import GoalMissedError, HeadraceError
from headrace.loadgen.spec import BenchSpec, make_spec
from headrace.loadgen.summary import Summary
from headrace.runs import run_path
from headrace.spec.slo import goals_of

NOTHING_HINT = "check the server's log, --model and --api-key-env"


def bench(
    url: Annotated[
        list[str],
        typer.Option("--url", help="Base URL of a server; repeat it for several replicas."),
    ],
    model: Annotated[str, typer.Option("--model", help="The model's name at the server.")],
    input_tokens: Annotated[
        int, typer.Option("--input-tokens", help="Prompt tokens per request (ISL).")
    ] = 1024,
    output_tokens: Annotated[
        int, typer.Option("--output-tokens", help="Generated tokens per request (OSL).")
    ] = 512,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", help="Requests to hold in flight, in all.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Requests per second instead (Poisson).")
    ] = None,
    requests: Annotated[int | None, typer.Option("--requests", help="Requests to measure.")] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", help="Seconds to measure instead.")
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", help="Client processes: one per 100,000 chunks/s or so.")
    ] = 1,
    endpoint: Annotated[
        str, typer.Option("--endpoint", help="completions (exact token ids) or chat.")
    ] = "completions",
    start: Annotated[
        str,
        typer.Option(
            "--start", help="spread (warm up with mixed lengths first) or together (one burst)."
        ),
    ] = "spread",
    prefix_hit_rate: Annotated[
        float, typer.Option("--prefix-hit-rate", help="Share of each prompt that all share.")
    ] = 0.0,
    api_key_env: Annotated[
        str | None,
        typer.Option("--api-key-env", help="Name of the environment variable with the API key."),
    ] = None,
    ttft_p99_ms: Annotated[
        float | None, typer.Option("--ttft-p99-ms", help="Goal for the TTFT's p99.")
    ] = None,
    tpot_p99_ms: Annotated[
        float | None, typer.Option("--tpot-p99-ms", help="Goal for the TPOT's p99.")
    ] = None,
    usd_per_hour: Annotated[
        float | None, typer.Option("--usd-per-hour", help="Price of all servers, for the cost.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of prompts and arrivals.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run; runs/<id> if unset.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print summary.json on stdout.")] = False,
) -> None:
    """Load any OpenAI-compatible server and measure it."""
    goals = {"ttft_p99_ms": ttft_p99_ms, "tpot_p99_ms": tpot_p99_ms}
    spec = make_spec(
        urls=url,
        model=model,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        concurrency=concurrency,
        request_rate=rate,
        requests=requests,
        duration_s=duration,
        processes=processes,
        endpoint=endpoint,
        start=start,
        prefix_hit_rate=prefix_hit_rate,
        api_key_env=api_key_env,
        slo={name: goal for name, goal in goals.items() if goal is not None},
        usd_per_hour=usd_per_hour,
        seed=seed,
    )
    summary = bench_with_progress(spec, output or run_path("bench"), force=force)
    if json:
        print_json(summary)
    judge(spec.slo, summary)


def bench_with_progress(spec: BenchSpec, out_dir: Path, *, force: bool) -> Summary:
    """Measure, with progress and the result on the terminal; files are left in `out_dir`.

    SIGINT and SIGTERM end the load early: the files are complete, the summary not valid. Raises
    InputError for bad input and HeadraceError for a server that cannot be reached.
    """
    from headrace.cli.load_view import show_summary, shown_progress
    from headrace.loadgen.run import run_bench

    with _stop_on_signals() as stop, shown_progress() as progress:
        summary = run_bench(spec, out_dir, progress=progress, stop=stop, force=force)
    show_summary(summary, out_dir)
    return summary


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second has its usual effect."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def heard(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, heard)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def judge(slo: dict[str, float], summary: Summary) -> None:
    """Exit status 1 when nothing completed, 4 when not valid or an SLO was missed."""
    reasons = "; ".join(summary.invalid_reasons)
    if not summary.requests.completed and "interrupted" not in summary.invalid_reasons:
        raise HeadraceError(f"{reasons}{_first_example(summary)}", hint=NOTHING_HINT)
    if not summary.valid:
        raise GoalMissedError(f"the measurement is not valid: {reasons}")
    missed = missed_goals(slo, summary)
    if missed:
        raise GoalMissedError(f"goal missed: {'; '.join(missed)}")


def missed_goals(slo: dict[str, float], summary: Summary) -> list[str]:
    """The goals whose percentile is over the limit, in words."""
    if summary.latency_ms is None:
        return []
    missed = []
    for goal in goals_of(slo):
        measured_ms = summary.latency_ms.at(goal.metric, goal.percentile)
        if measured_ms > goal.limit_ms:
            missed.append(f"{goal.words} {measured_ms:.0f} ms is over {goal.limit_ms:g} ms")
    return missed


def _first_example(summary: Summary) -> str:
    return next(
        (f"; {kind}: {text}" for kind, text in summary.requests.examples.items() if text), ""
    )
