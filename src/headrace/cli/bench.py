"""`headrace bench`: load any OpenAI-compatible server and measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace.cli import bench_flags as flags
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


def bench(
    url: flags.Url = None,
    model: flags.Model = None,
    input_tokens: flags.InputTokens = "1024",
    output_tokens: flags.OutputTokens = "512",
    concurrency: flags.Concurrency = None,
    rate: flags.Rate = None,
    arrivals: flags.Arrivals = "poisson",
    burstiness: flags.Burstiness = 1.0,
    rate_to: flags.RateTo = None,
    ramp: flags.Ramp = 0.0,
    refill: flags.Refill = 1,
    replay: flags.Replay = None,
    requests: flags.Requests = None,
    duration: flags.Duration = None,
    start: flags.Start = "spread",
    sweep: flags.Sweep = None,
    find_max: flags.FindMax = False,
    preset: flags.Preset = None,
    dataset: flags.Dataset = None,
    dataset_format: flags.DatasetFormat = "auto",
    tokenizer: flags.Tokenizer = None,
    endpoint: flags.Endpoint = "completions",
    prefix_hit_rate: flags.PrefixHitRate = 0.0,
    prefix_groups: flags.PrefixGroups = 1,
    turns: flags.Turns = "1",
    think_time: flags.ThinkTime = 0.0,
    lora: flags.Lora = None,
    stop_early: flags.StopEarly = False,
    body: flags.Body = None,
    header: flags.Header = None,
    header_env: flags.HeaderEnv = None,
    api_key_env: flags.ApiKeyEnv = None,
    stall_timeout: flags.StallTimeout = 120.0,
    processes: flags.Processes = 1,
    cpus: flags.Cpus = None,
    agents: flags.Agents = 0,
    listen: flags.Listen = None,
    join: flags.Join = None,
    ttft_p99_ms: flags.TtftP99Ms = None,
    tpot_p99_ms: flags.TpotP99Ms = None,
    e2e_p99_ms: flags.E2eP99Ms = None,
    usd_per_hour: flags.UsdPerHour = None,
    per_chunk: flags.PerChunk = False,
    scrape: flags.Scrape = 1.0,
    seed: flags.Seed = 0,
    output: flags.Output = None,
    force: flags.Force = False,
    resume: flags.Resume = False,
    json: flags.Json = False,
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
        "refill": refill,
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
