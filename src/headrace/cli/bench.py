"""`headrace bench`: load any OpenAI-compatible server and measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli.bench_machines import gathered, join_coordinator
from headrace.cli.bench_options import cpu_list, fields, lengths, pairs, preset_values, sweep_loads
from headrace.cli.bench_series import judge_series, measure_several
from headrace.cli.load_view import show_summary
from headrace.cli.measure import bench_with_progress, judge
from headrace.cli.output import print_json
from headrace.errors import InputError
from headrace.loadgen.series import finished
from headrace.loadgen.spec import BenchSpec, make_spec
from headrace.loadgen.summary import Summary
from headrace.loadgen.team import Agents
from headrace.runs import run_path

LOAD, WORK, REACH = "Load", "Requests", "Server"
RESULT, MACHINES = "Goals and results", "Machines and processes"


def bench(
    url: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            help="Base URL of a server, or unix:///PATH; repeat it for several replicas.",
            rich_help_panel=REACH,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="The model's name at the server.", rich_help_panel=REACH),
    ] = None,
    input_tokens: Annotated[
        str,
        typer.Option(
            "--input-tokens",
            metavar="LENGTH",
            help="Prompt tokens (ISL): N, uniform:A-B, normal:MEAN,STDEV, lognormal:MEAN,STDEV, "
            "empirical:N,N,... or empirical:FILE.",
            rich_help_panel=WORK,
        ),
    ] = "1024",
    output_tokens: Annotated[
        str,
        typer.Option(
            "--output-tokens",
            metavar="LENGTH",
            help="Generated tokens (OSL), as above.",
            rich_help_panel=WORK,
        ),
    ] = "512",
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", help="Requests to hold in flight, in all.", rich_help_panel=LOAD
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", help="Requests per second instead.", rich_help_panel=LOAD),
    ] = None,
    arrivals: Annotated[
        str,
        typer.Option(
            "--arrivals",
            help="poisson, constant, or gamma with --burstiness.",
            rich_help_panel=LOAD,
        ),
    ] = "poisson",
    burstiness: Annotated[
        float,
        typer.Option("--burstiness", help="Gamma shape: below 1 in bursts.", rich_help_panel=LOAD),
    ] = 1.0,
    rate_to: Annotated[
        float | None,
        typer.Option("--rate-to", help="Raise the rate evenly to this one.", rich_help_panel=LOAD),
    ] = None,
    ramp: Annotated[
        float,
        typer.Option(
            "--ramp", help="Seconds over which the concurrency is built up.", rich_help_panel=LOAD
        ),
    ] = 0.0,
    replay: Annotated[
        float | None,
        typer.Option(
            "--replay",
            help="Send a trace's requests at its own times, so many times as fast.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option("--requests", help="Requests to measure.", rich_help_panel=LOAD),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option("--duration", help="Seconds to measure instead.", rich_help_panel=LOAD),
    ] = None,
    start: Annotated[
        str,
        typer.Option(
            "--start",
            help="spread (warm up with mixed lengths first) or together (one burst).",
            rich_help_panel=LOAD,
        ),
    ] = "spread",
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep",
            help="Measure at several loads: 8,16,32 or rate=0.5,1,2.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    find_max: Annotated[
        bool,
        typer.Option(
            "--find-max",
            help="Search for the highest load that meets the goals, from the given one on.",
            rich_help_panel=LOAD,
        ),
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="A known method: inferencemax.", rich_help_panel=LOAD),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            "--dataset",
            help="ShareGPT, Mooncake or BurstGPT file, or any JSONL, instead of random prompts.",
            rich_help_panel=WORK,
        ),
    ] = None,
    dataset_format: Annotated[
        str,
        typer.Option(
            "--dataset-format",
            help="auto, sharegpt, mooncake, burstgpt or jsonl.",
            rich_help_panel=WORK,
        ),
    ] = "auto",
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            help="Folder with a tokenizer.json, or `server` (its /tokenize): prompts as text of "
            "known length.",
            rich_help_panel=WORK,
        ),
    ] = None,
    endpoint: Annotated[
        str,
        typer.Option(
            "--endpoint", help="completions (exact token ids) or chat.", rich_help_panel=WORK
        ),
    ] = "completions",
    prefix_hit_rate: Annotated[
        float,
        typer.Option(
            "--prefix-hit-rate", help="Share of each prompt that others have.", rich_help_panel=WORK
        ),
    ] = 0.0,
    prefix_groups: Annotated[
        int,
        typer.Option(
            "--prefix-groups", help="How many different beginnings.", rich_help_panel=WORK
        ),
    ] = 1,
    turns: Annotated[
        str,
        typer.Option(
            "--turns",
            metavar="LENGTH",
            help="Turns of a conversation (chat), as lengths above.",
            rich_help_panel=WORK,
        ),
    ] = "1",
    think_time: Annotated[
        float,
        typer.Option("--think-time", help="Mean seconds between two turns.", rich_help_panel=WORK),
    ] = 0.0,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora", help="Adapter to ask for, in turn with others.", rich_help_panel=WORK
        ),
    ] = None,
    stop_early: Annotated[
        bool,
        typer.Option(
            "--stop-early",
            help="Answers may end before the output length (no ignore_eos).",
            rich_help_panel=WORK,
        ),
    ] = False,
    body: Annotated[
        list[str] | None,
        typer.Option(
            "--body",
            metavar="NAME=JSON",
            help="A further field of the request body.",
            rich_help_panel=WORK,
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            metavar="NAME=VALUE",
            help="A further header; not for secrets.",
            rich_help_panel=REACH,
        ),
    ] = None,
    header_env: Annotated[
        list[str] | None,
        typer.Option(
            "--header-env",
            metavar="NAME=VARIABLE",
            help="A header whose value is in an environment variable.",
            rich_help_panel=REACH,
        ),
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            "--api-key-env",
            help="Name of the environment variable with the API key.",
            rich_help_panel=REACH,
        ),
    ] = None,
    stall_timeout: Annotated[
        float,
        typer.Option(
            "--stall-timeout", help="Longest silence of a request, in s.", rich_help_panel=REACH
        ),
    ] = 120.0,
    processes: Annotated[
        int,
        typer.Option(
            "--processes",
            help="Client processes: one per 100,000 chunks/s or so.",
            rich_help_panel=MACHINES,
        ),
    ] = 1,
    cpus: Annotated[
        str | None,
        typer.Option(
            "--cpus",
            help="Processors to pin them to, as 0,2,4-7; chosen where there are enough.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    agents: Annotated[
        int,
        typer.Option(
            "--agents",
            help="Machines that join this one before the load starts (needs --listen).",
            rich_help_panel=MACHINES,
        ),
    ] = 0,
    listen: Annotated[
        str | None,
        typer.Option("--listen", help="HOST:PORT that they join.", rich_help_panel=MACHINES),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(
            "--join",
            help="Be such a machine: HOST:PORT of the coordinator; all else comes from there.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    ttft_p99_ms: Annotated[
        float | None,
        typer.Option("--ttft-p99-ms", help="Goal for the TTFT's p99.", rich_help_panel=RESULT),
    ] = None,
    tpot_p99_ms: Annotated[
        float | None,
        typer.Option("--tpot-p99-ms", help="Goal for the TPOT's p99.", rich_help_panel=RESULT),
    ] = None,
    e2e_p99_ms: Annotated[
        float | None,
        typer.Option(
            "--e2e-p99-ms", help="Goal for the whole request's p99.", rich_help_panel=RESULT
        ),
    ] = None,
    usd_per_hour: Annotated[
        float | None,
        typer.Option(
            "--usd-per-hour", help="Price of all servers, for the cost.", rich_help_panel=RESULT
        ),
    ] = None,
    per_chunk: Annotated[
        bool,
        typer.Option("--per-chunk", help="Also write chunks.parquet.", rich_help_panel=RESULT),
    ] = False,
    scrape: Annotated[
        float,
        typer.Option(
            "--scrape",
            help="Seconds between two looks at the servers' /metrics; 0 for none.",
            rich_help_panel=RESULT,
        ),
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of prompts and arrivals.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run; runs/<id> if unset.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files in the folder.")] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the folder: what was measured is not again."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print summary.json on stdout.")] = False,
) -> None:
    """Load any OpenAI-compatible server and measure it."""
    if join is not None:
        join_coordinator(join, processes)
        return
    if not url or not model:
        raise InputError(f"{'--model' if url else '--url'}: expected one")
    goals = {"ttft_p99_ms": ttft_p99_ms, "tpot_p99_ms": tpot_p99_ms, "e2e_p99_ms": e2e_p99_ms}
    axis, loads = sweep_loads(sweep) if sweep else ("rate" if rate else "concurrency", [])
    values: dict[str, Any] = {
        "urls": url,
        "model": model,
        "loras": lora or [],
        "input_tokens": lengths(input_tokens, "--input-tokens"),
        "output_tokens": lengths(output_tokens, "--output-tokens"),
        "concurrency": concurrency,
        "request_rate": rate,
        "arrivals": arrivals,
        "burstiness": burstiness,
        "request_rate_to": rate_to,
        "replay_speed": replay,
        "ramp_s": ramp,
        "requests": requests,
        "duration_s": duration,
        "processes": processes,
        "cpus": cpu_list(cpus),
        "endpoint": endpoint,
        "start": start,
        "prefix_hit_rate": prefix_hit_rate,
        "prefix_groups": prefix_groups,
        "turns": lengths(turns, "--turns"),
        "think_s": think_time,
        "dataset": dataset,
        "dataset_format": dataset_format,
        "tokenizer": tokenizer,
        "ignore_eos": not stop_early,
        "body": fields(body or []),
        "headers": pairs(header or [], "--header"),
        "header_envs": pairs(header_env or [], "--header-env"),
        "api_key_env": api_key_env,
        "stall_timeout_s": stall_timeout,
        "slo": {name: goal for name, goal in goals.items() if goal is not None},
        "usd_per_hour": usd_per_hour,
        "per_chunk": per_chunk,
        "scrape_s": scrape or None,
        "seed": seed,
    }
    if loads:
        values |= {"concurrency": None, "request_rate": None}
        values["request_rate" if axis == "rate" else "concurrency"] = loads[0]
    spec = make_spec(**values | preset_values(preset, values))
    out_dir = output or run_path("bench")
    with gathered(agents, listen) as team:
        if loads or find_max:
            series = measure_several(spec, axis, loads, out_dir, team, force=force, resume=resume)
            if json:
                print_json(series)
            judge_series(series)
            return
        summary = _one(spec, out_dir, team, force=force, resume=resume)
    if json:
        print_json(summary)
    judge(spec.slo, summary)


def _one(spec: BenchSpec, out_dir: Path, team: Agents, *, force: bool, resume: bool) -> Summary:
    """Measure, unless this is the rest of a run that was measured to its end already."""
    found = finished(out_dir) if resume else None
    if found is not None:
        show_summary(found, out_dir)
        return found
    return bench_with_progress(spec, out_dir, force=force or resume, agents=team)
