"""The command line of `headrace bench`: every option's type, name, help and group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LOAD, WORK, REACH = "Load", "Requests", "Server"
RESULT, MACHINES = "Goals and results", "Machines and processes"

Url = Annotated[
    list[str] | None,
    typer.Option(
        "--url",
        help="Base URL of a server, or unix:///PATH; repeat it for several replicas.",
        rich_help_panel=REACH,
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="The model's name at the server.", rich_help_panel=REACH),
]
InputTokens = Annotated[
    str,
    typer.Option(
        "--input-tokens",
        metavar="LENGTH",
        help="Prompt tokens (ISL): N, uniform:A-B, normal:MEAN,STDEV, lognormal:MEAN,STDEV, "
        "empirical:N,N,... or empirical:FILE.",
        rich_help_panel=WORK,
    ),
]
OutputTokens = Annotated[
    str,
    typer.Option(
        "--output-tokens",
        metavar="LENGTH",
        help="Generated tokens (OSL), as above.",
        rich_help_panel=WORK,
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option("--concurrency", help="Requests to hold in flight, in all.", rich_help_panel=LOAD),
]
Rate = Annotated[
    float | None,
    typer.Option("--rate", help="Requests per second instead.", rich_help_panel=LOAD),
]
Arrivals = Annotated[
    str,
    typer.Option(
        "--arrivals",
        help="poisson, constant, or gamma with --burstiness.",
        rich_help_panel=LOAD,
    ),
]
Burstiness = Annotated[
    float,
    typer.Option("--burstiness", help="Gamma shape: below 1 in bursts.", rich_help_panel=LOAD),
]
RateTo = Annotated[
    float | None,
    typer.Option("--rate-to", help="Raise the rate evenly to this one.", rich_help_panel=LOAD),
]
Ramp = Annotated[
    float,
    typer.Option(
        "--ramp", help="Seconds over which the concurrency is built up.", rich_help_panel=LOAD
    ),
]
Replay = Annotated[
    float | None,
    typer.Option(
        "--replay",
        help="Send a trace's requests at its own times, so many times as fast.",
        rich_help_panel=LOAD,
    ),
]
Requests = Annotated[
    int | None,
    typer.Option("--requests", help="Requests to measure.", rich_help_panel=LOAD),
]
Duration = Annotated[
    float | None,
    typer.Option("--duration", help="Seconds to measure instead.", rich_help_panel=LOAD),
]
Start = Annotated[
    str,
    typer.Option(
        "--start",
        help="spread (warm up with mixed lengths first) or together (one burst).",
        rich_help_panel=LOAD,
    ),
]
Sweep = Annotated[
    str | None,
    typer.Option(
        "--sweep",
        help="Measure at several loads: 8,16,32 or rate=0.5,1,2.",
        rich_help_panel=LOAD,
    ),
]
FindMax = Annotated[
    bool,
    typer.Option(
        "--find-max",
        help="Search for the highest load that meets the goals, from the given one on.",
        rich_help_panel=LOAD,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="A known method: inferencemax.", rich_help_panel=LOAD),
]
Dataset = Annotated[
    Path | None,
    typer.Option(
        "--dataset",
        help="ShareGPT, Mooncake or BurstGPT file, or any JSONL, instead of random prompts.",
        rich_help_panel=WORK,
    ),
]
DatasetFormat = Annotated[
    str,
    typer.Option(
        "--dataset-format",
        help="auto, sharegpt, mooncake, burstgpt or jsonl.",
        rich_help_panel=WORK,
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        help="Folder with a tokenizer.json, or `server` (its /tokenize): prompts as text of "
        "known length.",
        rich_help_panel=WORK,
    ),
]
Endpoint = Annotated[
    str,
    typer.Option("--endpoint", help="completions (exact token ids) or chat.", rich_help_panel=WORK),
]
PrefixHitRate = Annotated[
    float,
    typer.Option(
        "--prefix-hit-rate", help="Share of each prompt that others have.", rich_help_panel=WORK
    ),
]
PrefixGroups = Annotated[
    int,
    typer.Option("--prefix-groups", help="How many different beginnings.", rich_help_panel=WORK),
]
Turns = Annotated[
    str,
    typer.Option(
        "--turns",
        metavar="LENGTH",
        help="Turns of a conversation (chat), as lengths above.",
        rich_help_panel=WORK,
    ),
]
ThinkTime = Annotated[
    float,
    typer.Option("--think-time", help="Mean seconds between two turns.", rich_help_panel=WORK),
]
Lora = Annotated[
    list[str] | None,
    typer.Option("--lora", help="Adapter to ask for, in turn with others.", rich_help_panel=WORK),
]
StopEarly = Annotated[
    bool,
    typer.Option(
        "--stop-early",
        help="Answers may end before the output length (no ignore_eos).",
        rich_help_panel=WORK,
    ),
]
Body = Annotated[
    list[str] | None,
    typer.Option(
        "--body",
        metavar="NAME=JSON",
        help="A further field of the request body.",
        rich_help_panel=WORK,
    ),
]
Header = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="NAME=VALUE",
        help="A further header; not for secrets.",
        rich_help_panel=REACH,
    ),
]
HeaderEnv = Annotated[
    list[str] | None,
    typer.Option(
        "--header-env",
        metavar="NAME=VARIABLE",
        help="A header whose value is in an environment variable.",
        rich_help_panel=REACH,
    ),
]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option(
        "--api-key-env",
        help="Name of the environment variable with the API key.",
        rich_help_panel=REACH,
    ),
]
StallTimeout = Annotated[
    float,
    typer.Option(
        "--stall-timeout", help="Longest silence of a request, in s.", rich_help_panel=REACH
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes",
        help="Client processes: one per 100,000 chunks/s or so.",
        rich_help_panel=MACHINES,
    ),
]
Cpus = Annotated[
    str | None,
    typer.Option(
        "--cpus",
        help="Processors to pin them to, as 0,2,4-7; chosen where there are enough.",
        rich_help_panel=MACHINES,
    ),
]
Agents = Annotated[
    int,
    typer.Option(
        "--agents",
        help="Machines that join this one before the load starts (needs --listen).",
        rich_help_panel=MACHINES,
    ),
]
Listen = Annotated[
    str | None,
    typer.Option("--listen", help="HOST:PORT that they join.", rich_help_panel=MACHINES),
]
Join = Annotated[
    str | None,
    typer.Option(
        "--join",
        help="Be such a machine: HOST:PORT of the coordinator; all else comes from there.",
        rich_help_panel=MACHINES,
    ),
]
TtftP99Ms = Annotated[
    float | None,
    typer.Option("--ttft-p99-ms", help="Goal for the TTFT's p99.", rich_help_panel=RESULT),
]
TpotP99Ms = Annotated[
    float | None,
    typer.Option("--tpot-p99-ms", help="Goal for the TPOT's p99.", rich_help_panel=RESULT),
]
E2eP99Ms = Annotated[
    float | None,
    typer.Option("--e2e-p99-ms", help="Goal for the whole request's p99.", rich_help_panel=RESULT),
]
UsdPerHour = Annotated[
    float | None,
    typer.Option(
        "--usd-per-hour", help="Price of all servers, for the cost.", rich_help_panel=RESULT
    ),
]
PerChunk = Annotated[
    bool,
    typer.Option("--per-chunk", help="Also write chunks.parquet.", rich_help_panel=RESULT),
]
Scrape = Annotated[
    float,
    typer.Option(
        "--scrape",
        help="Seconds between two looks at the servers' /metrics; 0 for none.",
        rich_help_panel=RESULT,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of prompts and arrivals.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder of the run; runs/<id> if unset.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files in the folder.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with the folder: what was measured is not again."),
]
Json = Annotated[bool, typer.Option("--json", help="Print summary.json on stdout.")]
