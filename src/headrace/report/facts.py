"""What a run was, in words: its name, its configuration, its memory, cost and environment."""

from __future__ import annotations

import shlex
from typing import Any

from headrace.engines.vllm.stand_ins import described
from headrace.planner.plan import Plan
from headrace.proof.gpu_use import joules_per_token
from headrace.report.chart import Table
from headrace.report.data import RunData
from headrace.report.parts import Bar, Command, Fact
from headrace.report.words import bytes_, config, moment, number, percent, plain, usd

SIMULATED_WARNING = (
    "The GPUs of this run were simulated. Every token's timing comes from Headrace's performance "
    "model, not from a GPU. The gateway, the HTTP streams and the load generator were real, so "
    "agreement with the plan proves the path and the client, not the model's accuracy."
)

JOULES_PER_KWH = 3.6e6


def short_name(run: RunData) -> str:
    """What was run on what: `qwen35-27b on 8 × B200`."""
    if run.plan:
        return f"{run.plan.fleet.name} on {run.plan.fleet.hardware.gpus} × {run.plan.gpu}"
    return run.summary.model if run.summary else run.id


def title(run: RunData) -> str:
    """The page's title; a simulated run says so first."""
    parts = ["Simulated"] if run.simulated else []
    if run.summary is None:
        parts.append("Plan")
    return " · ".join([*parts, short_name(run)])


def engine(run: RunData) -> str:
    """What served: `vllm 0.33.0`, or the simulation and what it imitates."""
    planned = f"vLLM {run.plan.fleet.engine.version}" if run.plan else ""
    if run.simulated:
        return f"simulated {planned}".strip()
    return run.summary.engine if run.summary else planned


def identity(run: RunData) -> list[Fact]:
    """The line under the title."""
    facts = [Fact("Engine", engine(run))]
    if run.plan:
        load, layout = run.plan.fleet.workload, run.plan.chosen.layout
        facts = [
            Fact("Model", run.plan.model),
            *facts,
            Fact("Layout", f"{layout.replicas} replicas, TP {layout.tensor_parallel}"),
            Fact("Load", load.in_words),
        ]
    elif run.summary:
        facts = [Fact("Model", run.summary.model), *facts]
    if run.stand_ins:
        facts.append(Fact("Stand-ins", described(run.stand_ins)))
    if run.deployment:
        facts.append(Fact("Started", moment(run.deployment.started_at)))
    return [*facts, Fact("Run", run.id)]


def flags(args: dict[str, Any]) -> Table:
    """vLLM's options as they are typed."""
    rows = tuple(
        (f"--{name.replace('_', '-')}", plain(value)) for name, value in sorted(args.items())
    )
    return Table("Chosen vLLM flags", ("Flag", "Value"), rows)


def memory(plan: Plan) -> tuple[list[Bar], list[Fact]]:
    """One GPU's memory as a stack of shares, and what a token and a sequence take of the cache."""
    m = plan.chosen.memory_bytes
    parts = [
        ("Weights", m.weights, "run0"),
        ("Activations", m.activations, "run1"),
        ("Cache", m.free, "run2"),
    ]
    total = sum(size for _, size, _ in parts)
    bars = [
        Bar(name, bytes_(size), 100 * size / total if total else 0.0, tone)
        for name, size, tone in parts
    ]
    return bars, [
        Fact("KV cache per token", bytes_(m.kv_per_token)),
        Fact("Recurrent state per sequence", bytes_(m.state_per_sequence)),
        Fact("Sequences at once", f"{plan.chosen.max_running:,} per replica"),
    ]


def rejected(plan: Plan, most: int = 40) -> Table | None:
    """Options that were turned down, each with its reason."""
    if not plan.rejected:
        return None
    rows = tuple((config(row.config), row.reason) for row in plan.rejected[:most])
    shown = "" if len(plan.rejected) <= most else f" (first {most} of {len(plan.rejected)})"
    return Table(f"Options turned down{shown}", ("Configuration", "Reason"), rows, numeric=False)


def cost(run: RunData) -> list[Fact]:
    """What the fleet costs, and what it makes for that."""
    plan, summary, measured = run.plan, run.summary, run.measured.lower()
    facts: list[Fact] = []
    if plan and plan.usd_per_gpu_hour:
        gpus = plan.fleet.hardware.gpus
        facts = [
            Fact("Price of a GPU", f"{usd(plan.usd_per_gpu_hour)} per hour"),
            Fact(
                f"The fleet ({gpus} × {plan.gpu})", f"{usd(plan.usd_per_gpu_hour * gpus)} per hour"
            ),
            Fact(
                "Per million total tokens, predicted",
                usd(plan.chosen.prediction.usd_per_million_tokens),
            ),
        ]
    if summary and summary.usd_per_million_tokens:
        million = summary.usd_per_million_tokens
        rates = summary.throughput
        facts.append(Fact(f"Per million total tokens, {measured}", usd(million)))
        if rates.output_tok_s:
            output = million * rates.total_tok_s / rates.output_tok_s
            facts.append(Fact(f"Per million output tokens, {measured}", usd(output)))
        facts.append(Fact(f"Total tokens per dollar, {measured}", number(1e6 / million)))
    joules = joules_per_token(summary) if summary else None
    if joules is not None:
        kwh = f"{number(joules * 1e6 / JOULES_PER_KWH)} kWh"
        facts.append(Fact("Energy of the GPUs per million total tokens", kwh))
    return facts


def gpus(run: RunData) -> Table | None:
    """What each GPU did in the measured window; None where nobody could read it."""
    if run.summary is None or not run.summary.gpus:
        return None
    heads = ("GPU", "Busy", "Clock, MHz", "Most", "Power, W", "Limit", "Clock held down by power")
    rows = tuple(
        (
            f"{gpu.node}/{gpu.index} {gpu.name}",
            f"{gpu.busy_percent:.0f} %",
            *map(_known, (gpu.clock_mhz, gpu.clock_max_mhz, gpu.power_w, gpu.power_limit_w)),
            "" if gpu.power_limited is None else percent(gpu.power_limited),
        )
        for gpu in run.summary.gpus
    )
    return Table("GPUs while it was measured", heads, rows)


def _known(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def errors(run: RunData) -> tuple[list[Fact], list[Fact]]:
    """Counts of requests by their end, and failures by kind with an example of each."""
    if run.summary is None:
        return [], []
    r = run.summary.requests
    counts = [
        Fact("Asked", f"{r.asked:,}"),
        Fact("Completed", f"{r.completed:,}"),
        Fact("Failed", f"{r.failed:,}"),
        Fact("Cut off at the end", f"{r.cut:,}"),
        Fact("First wave, not measured", f"{r.warmup:,}"),
    ]
    return counts, [
        Fact(kind, f"{n:,}: {r.examples[kind]}" if kind in r.examples else f"{n:,}")
        for kind, n in sorted(r.errors.items())
    ]


def client(run: RunData) -> list[Fact]:
    """Whether the load generator itself kept up."""
    if run.summary is None:
        return []
    c, held = run.summary.client, run.summary.concurrency
    facts = [
        Fact("Measured for", f"{number(run.summary.duration_s)} s"),
        Fact("In flight, mean", number(held.mean)),
        Fact("In flight, most", f"{held.max:,}"),
        Fact("Processes", str(c.processes)),
        Fact("CPU time", f"{number(c.cpu_s)} s"),
        Fact("Chunks received", f"{c.chunks:,}"),
        Fact("Chunks per CPU second", number(c.chunks_per_cpu_s)),
        Fact("Lag p50", f"{number(c.lag_ms.p50)} ms"),
        Fact("Lag p99", f"{number(c.lag_ms.p99)} ms"),
        Fact("Chunks timed by the kernel", percent(c.kernel_timed)),
        Fact("Chunks read by compiled code", percent(c.compiled)),
    ]
    if run.summary.goodput:
        good = run.summary.goodput
        facts.append(
            Fact("Goodput", f"{number(good.request_s)} requests/s ({percent(good.share)} in SLO)")
        )
    return facts


def environment(run: RunData) -> list[Fact]:
    """Where it was measured; nested values by dotted names."""
    return _flat("", run.summary.environment) if run.summary else []


def _flat(prefix: str, values: dict[str, Any]) -> list[Fact]:
    facts: list[Fact] = []
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            facts += _flat(f"{path}.", value)
        else:
            facts.append(Fact(path, moment(plain(value))))
    return facts


def fleet_file(run: RunData) -> str | None:
    """The fleet file's text, from the run's folder or else from the plan."""
    if run.fleet_yaml or run.plan is None:
        return run.fleet_yaml
    import yaml

    document = run.plan.fleet.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(document, sort_keys=False)


def commands(run: RunData) -> list[Command]:
    """How to do it again."""
    if run.plan is None:
        return [Command("Measure the same server again (put its URL)", _bench(run)), _again(run)]
    return [
        Command("Plan it again, from the fleet file below", "headrace plan fleet.yaml"),
        Command("Plan, start, load, measure and report", _run(run)),
        _again(run),
        Command("Start one replica by hand, on a GPU", run.plan.chosen.command),
    ]


def _again(run: RunData) -> Command:
    return Command("Write this page again", f"headrace report {shlex.quote(f'runs/{run.id}')}")


def _run(run: RunData) -> str:
    load = _load(run)
    options = ("duration", "requests", "processes", "seed")
    return " ".join(["headrace run fleet.yaml", *_options(load, options)])


def _bench(run: RunData) -> str:
    load = _load(run)
    options = ("input_tokens", "output_tokens", "concurrency", "rate", "duration", "requests")
    model = ["--model", shlex.quote(run.summary.model)] if run.summary else []
    extra = _options(load, (*options, "processes", "seed"))
    return " ".join(["headrace bench --url URL", *model, *extra])


def _load(run: RunData) -> dict[str, Any]:
    """What was asked of the load generator, by the names of its options."""
    load = run.summary.environment.get("load", {}) if run.summary else {}
    if not isinstance(load, dict):
        return {}
    names = {"request_rate": "rate", "duration_s": "duration"}
    return {names.get(str(name), str(name)): value for name, value in load.items()}


def _options(load: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    return [
        f"--{name.replace('_', '-')} {shlex.quote(plain(load[name]))}"
        for name in names
        if load.get(name) is not None
    ]
