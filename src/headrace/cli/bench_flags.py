"""The command line of `headrace bench`: every option's type, name, help and group."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer


def _option(group: str, name: str, text: str, **more: Any) -> Any:
    return typer.Option(name, help=text, rich_help_panel=group, **more)


_load = partial(_option, "Load")
_work = partial(_option, "Requests")
_reach = partial(_option, "Server")
_result = partial(_option, "Goals and results")
_machines = partial(_option, "Machines and processes")

Url = Annotated[
    list[str] | None,
    _reach("--url", "Base URL of a server, or unix:///PATH; repeat it for several replicas."),
]
Model = Annotated[str | None, _reach("--model", "The model's name at the server.")]
InputTokens = Annotated[
    str,
    _work(
        "--input-tokens",
        "Prompt tokens (ISL): N, uniform:A-B, normal:MEAN,STDEV, lognormal:MEAN,STDEV, "
        "empirical:N,N,... or empirical:FILE.",
        metavar="LENGTH",
    ),
]
OutputTokens = Annotated[
    str, _work("--output-tokens", "Generated tokens (OSL), as above.", metavar="LENGTH")
]
Concurrency = Annotated[int | None, _load("--concurrency", "Requests to hold in flight, in all.")]
Rate = Annotated[float | None, _load("--rate", "Requests per second instead.")]
Arrivals = Annotated[str, _load("--arrivals", "poisson, constant, or gamma with --burstiness.")]
Burstiness = Annotated[float, _load("--burstiness", "Gamma shape: below 1 in bursts.")]
RateTo = Annotated[float | None, _load("--rate-to", "Raise the rate evenly to this one.")]
Ramp = Annotated[float, _load("--ramp", "Seconds over which the concurrency is built up.")]
Refill = Annotated[int, _load("--refill", "Follow requests that ended so many at a time.")]
Replay = Annotated[
    float | None,
    _load("--replay", "Send a trace's requests at its own times, so many times as fast."),
]
Requests = Annotated[int | None, _load("--requests", "Requests to measure.")]
Duration = Annotated[float | None, _load("--duration", "Seconds to measure instead.")]
Start = Annotated[
    str, _load("--start", "spread (warm up with mixed lengths first) or together (one burst).")
]
Sweep = Annotated[
    str | None, _load("--sweep", "Measure at several loads: 8,16,32 or rate=0.5,1,2.")
]
FindMax = Annotated[
    bool,
    _load("--find-max", "Search for the highest load that meets the goals, from the given one on."),
]
Preset = Annotated[str | None, _load("--preset", "A known method: inferencemax.")]
Dataset = Annotated[
    Path | None,
    _work(
        "--dataset", "ShareGPT, Mooncake or BurstGPT file, or any JSONL, instead of random prompts."
    ),
]
DatasetFormat = Annotated[
    str, _work("--dataset-format", "auto, sharegpt, mooncake, burstgpt or jsonl.")
]
Tokenizer = Annotated[
    str | None,
    _work(
        "--tokenizer",
        "Folder with a tokenizer.json, or `server` (its /tokenize): prompts as text of "
        "known length.",
    ),
]
Endpoint = Annotated[str, _work("--endpoint", "completions (exact token ids) or chat.")]
PrefixHitRate = Annotated[
    float, _work("--prefix-hit-rate", "Share of each prompt that others have.")
]
PrefixGroups = Annotated[int, _work("--prefix-groups", "How many different beginnings.")]
Turns = Annotated[
    str, _work("--turns", "Turns of a conversation (chat), as lengths above.", metavar="LENGTH")
]
ThinkTime = Annotated[float, _work("--think-time", "Mean seconds between two turns.")]
Lora = Annotated[list[str] | None, _work("--lora", "Adapter to ask for, in turn with others.")]
StopEarly = Annotated[
    bool, _work("--stop-early", "Answers may end before the output length (no ignore_eos).")
]
Body = Annotated[
    list[str] | None, _work("--body", "A further field of the request body.", metavar="NAME=JSON")
]
Header = Annotated[
    list[str] | None, _reach("--header", "A further header; not for secrets.", metavar="NAME=VALUE")
]
HeaderEnv = Annotated[
    list[str] | None,
    _reach(
        "--header-env",
        "A header whose value is in an environment variable.",
        metavar="NAME=VARIABLE",
    ),
]
ApiKeyEnv = Annotated[
    str | None, _reach("--api-key-env", "Name of the environment variable with the API key.")
]
StallTimeout = Annotated[float, _reach("--stall-timeout", "Longest silence of a request, in s.")]
Processes = Annotated[
    int, _machines("--processes", "Client processes: one per 100,000 chunks/s or so.")
]
Cpus = Annotated[
    str | None,
    _machines("--cpus", "Processors to pin them to, as 0,2,4-7; chosen where there are enough."),
]
Agents = Annotated[
    int,
    _machines("--agents", "Machines that join this one before the load starts (needs --listen)."),
]
Listen = Annotated[str | None, _machines("--listen", "HOST:PORT that they join.")]
Join = Annotated[
    str | None,
    _machines(
        "--join", "Be such a machine: HOST:PORT of the coordinator; all else comes from there."
    ),
]
TtftP99Ms = Annotated[float | None, _result("--ttft-p99-ms", "Goal for the TTFT's p99.")]
TpotP99Ms = Annotated[float | None, _result("--tpot-p99-ms", "Goal for the TPOT's p99.")]
E2eP99Ms = Annotated[float | None, _result("--e2e-p99-ms", "Goal for the whole request's p99.")]
UsdPerHour = Annotated[
    float | None, _result("--usd-per-hour", "Price of all servers, for the cost.")
]
PerChunk = Annotated[bool, _result("--per-chunk", "Also write chunks.parquet.")]
Scrape = Annotated[
    float, _result("--scrape", "Seconds between two looks at the servers' /metrics; 0 for none.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of prompts and arrivals.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder of the run; runs/<id> if unset.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files in the folder.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the folder: what was measured is not again.")
]
Json = Annotated[bool, typer.Option("--json", help="Print summary.json on stdout.")]
