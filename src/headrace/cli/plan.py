"""`headrace plan`: the best configuration for a fleet file, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from headrace.cli.output import console, print_json
from headrace.errors import InputError
from headrace.planner.plan import Choice, Percentiles, Plan
from headrace.spec.fleet import Fleet

if TYPE_CHECKING:
    from headrace.models.facts import ModelFacts
    from headrace.planner.checkpoints import Checkpoint


def plan(
    fleet_file: Annotated[Path, typer.Argument(help="The fleet file.", metavar="FLEET")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write plan.json here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print plan.json on stdout.")] = False,
    goal: Annotated[
        str | None,
        typer.Option(
            "--goal", help="throughput (per GPU), cost (per token) or fewest-gpus (for a rate)."
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Requests per second to plan for.")
    ] = None,
    token_rate: Annotated[
        float | None,
        typer.Option("--token-rate", help="Total tokens per second to plan for, instead."),
    ] = None,
    spare: Annotated[
        int | None,
        typer.Option("--spare", help="Replicas that may be lost without missing a goal."),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            metavar="GPU",
            help="Rank GPU types by predicted cost per token: `all`, or a name; repeatable.",
        ),
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="FIELD=VALUE",
            help="Also plan with this field of the file changed, and compare; repeatable.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="OTHER",
            help="Another fleet file: what each setting gains on the way from its configuration.",
        ),
    ] = None,
) -> None:
    """Find the best configuration for a fleet file and say why."""
    fleet = _asked(fleet_file, goal, rate, token_rate, spare)
    if gpu or what_if or against:
        from headrace.cli.plan_options import plan_with

        plan_with(fleet, fleet_file, output, json=json, gpu=gpu, what_if=what_if, against=against)
        return
    if output is not None and output.exists() and not force:
        raise InputError(f"{output} exists", hint="choose another --output, or pass --force")
    made = plan_for(fleet, fleet_file)
    if output is not None:
        write_plan(made, output)
    if json:
        print_json(made)
    else:
        show_plan(made)


def _asked(
    fleet_file: Path,
    goal: str | None,
    rate: float | None,
    token_rate: float | None,
    spare: int | None,
) -> Fleet:
    """The file's fleet with what the options change of it."""
    from headrace.spec.load import load_fleet

    options = (
        ("--goal", "goal", goal),
        ("--rate", "workload.request_rate", rate),
        ("--token-rate", "workload.token_rate", token_rate),
        ("--spare", "spare_replicas", spare),
    )
    given = [option for option in options if option[2] is not None]
    fleet = load_fleet(fleet_file)
    if not given:
        return fleet
    from headrace.planner.what_if import changed, stated

    return changed(fleet, [stated(*option) for option in given])


def plan_for(fleet: Fleet, fleet_file: Path | None = None) -> Plan:
    """Load what a fleet names (model, GPU) and plan it; errors name the place in its file."""
    from headrace.hardware.load import load_gpu_of
    from headrace.models.load import load_model
    from headrace.planner.make import make_plan

    with named_in(fleet_file, "hardware", "gpu"):
        gpu = load_gpu_of(fleet.hardware)
    with named_in(fleet_file, "model"):
        facts = load_model(fleet.model)
    others = checkpoints_of(fleet, facts, fleet_file)
    with named_in(fleet_file, "engine"):
        return make_plan(fleet, facts, gpu, others=others)


def checkpoints_of(fleet: Fleet, own: ModelFacts, fleet_file: Path | None) -> list[Checkpoint]:
    """The file's other checkpoints of the model. Raises InputError for one that is none."""
    names = enumerate(fleet.checkpoints)
    return [_checkpoint(fleet_file, place, name, own) for place, name in names]


def _checkpoint(fleet_file: Path | None, place: int, name: str, own: ModelFacts) -> Checkpoint:
    from headrace.models.load import load_model
    from headrace.planner.checkpoints import Checkpoint, require_same_model

    with named_in(fleet_file, "checkpoints", place):
        facts = load_model(name)
        require_same_model(own, facts)
    return Checkpoint(name, facts)


@contextmanager
def named_in(fleet_file: Path | None, *field: str | int) -> Iterator[None]:
    """Puts file, line and field before the message of an InputError."""
    from headrace.spec.load import where

    try:
        yield
    except InputError as error:
        if fleet_file is None:
            raise
        raise InputError(f"{where(fleet_file, *field)}: {error}", hint=error.hint) from error


def write_plan(made: Plan, path: Path) -> None:
    """Write `plan.json`."""
    try:
        path.write_text(made.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def show_plan(made: Plan, *, brief: bool = False) -> None:
    """The plan for people: predicted figures, reasons, what was turned down, the command.

    `brief` leaves out what was turned down, for a run that goes on.
    """
    fleet, choice = made.fleet, made.chosen
    engine = "simulated " if fleet.engine.kind == "simulated" else ""
    console.print(
        f"[bold]{escape(fleet.name)}[/]  {escape(made.model)} on {_gpus(made)} x "
        f"{engine}{made.gpu}, vLLM {fleet.engine.version}"
    )
    if made.stand_ins:
        from headrace.engines.vllm.stand_ins import described

        console.print(f"[yellow]stand-ins[/]  {escape(described(made.stand_ins))}", soft_wrap=True)
    console.print(_figures(choice))
    console.print(f"[bold]layout[/]  {_layout(choice)}")
    console.print(f"[bold]bound by[/]  {choice.bound_by}")
    console.print("[bold]why[/]")
    for reason in choice.why:
        console.print(f"  - {escape(reason)}", soft_wrap=True)
    if not brief:
        _show_rejected(made)
    console.print("[bold]one replica[/]")
    console.print(f"  {escape(choice.command)}", soft_wrap=True)
    console.print(
        f"[dim]{made.searched:,} configuration{'s'[: made.searched > 1]} searched "
        f"in {made.elapsed_s:.2f} s[/]",
    )


def _gpus(made: Plan) -> str:
    """`64`, or `57 of 64` where some stay idle."""
    used, there = made.chosen.layout.gpus, made.fleet.hardware.gpus
    return f"{there}" if used == there else f"{used} of {there}"


def _figures(choice: Choice) -> Table:
    p = choice.prediction
    table = Table(title="predicted", title_justify="left", show_header=False, box=None)
    table.add_column(justify="right")
    table.add_column()
    band = f"{p.low_total_tok_s:,.0f} to {p.high_total_tok_s:,.0f}"
    table.add_row(f"{p.total_tok_s:,.0f}", f"total tok/s (band {band})")
    table.add_row(f"{p.output_tok_s:,.0f}", "output tok/s")
    table.add_row(f"{p.total_tok_s_per_gpu:,.0f}", "total tok/s per GPU")
    for name, at in p.latency_ms.items():
        table.add_row(*_latency(name, at))
    if p.prefix_hit_rate:
        table.add_row(
            f"{100 * p.prefix_hit_rate:.0f} %", "of prompt tokens found in the prefix cache"
        )
    table.add_row(f"{p.concurrency_per_replica}", "requests in flight per replica")
    if p.usd_per_million_tokens is not None:
        table.add_row(f"{p.usd_per_million_tokens:.4f}", "USD per million total tokens")
    return table


def _latency(name: str, at: Percentiles) -> tuple[str, str]:
    places = 1 if name == "tpot" else 0
    shown = (f"{rank} {getattr(at, rank):,.{places}f}" for rank in ("p50", "p90", "p95", "p99"))
    words = name if name == "e2e" else name.upper()
    return f"{at.mean:,.{places}f} ms", f"{words} ({', '.join(shown)})"


def _layout(choice: Choice) -> str:
    layout = choice.layout
    gpus = "1 GPU" if layout.tensor_parallel == 1 else f"{layout.tensor_parallel} GPUs (TP)"
    nodes = "1 node" if layout.nodes == 1 else f"{layout.nodes} nodes"
    if layout.replicas == 1:
        return f"1 replica of {gpus} on {nodes}"
    return f"{layout.replicas} replicas of {gpus} each on {nodes}"


def _show_rejected(made: Plan) -> None:
    if not made.rejected:
        return
    table = Table(title="turned down", title_justify="left", box=None, show_edge=False)
    table.add_column("configuration", overflow="fold")
    table.add_column("reason", overflow="fold")
    for row in made.rejected[:8]:
        config = " ".join(f"{short_lever(k)}={v}" for k, v in row.config.items())
        table.add_row(escape(config), escape(row.reason))
    console.print(table)
    if len(made.rejected) > 8:
        console.print(f"  [dim]and {len(made.rejected) - 8} more: --json[/]")


def short_lever(lever: str) -> str:
    """A lever's name where a whole configuration must fit on a line."""
    names = {
        "tensor_parallel": "tp",
        "kv_dtype": "kv",
        "state_dtype": "state",
        "mtp_depth": "mtp",
        "max_num_seqs": "seqs",
        "max_num_batched_tokens": "batched",
        "max_model_len": "len",
        "captured": "graphs",
        "attention_backend": "attention",
        "linear_backend": "linear",
    }
    return names.get(lever, lever)
