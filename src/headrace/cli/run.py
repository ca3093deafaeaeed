"""`headrace run`: plan, start, load, prove and report a fleet, then stop it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from headrace.cli.output import console, print_json
from headrace.errors import InputError
from headrace.files import replace_file
from headrace.loadgen.summary import Summary
from headrace.planner.plan import Plan
from headrace.spec.fleet import Fleet

DURATION_S = 60.0
RUN_KEY = "HEADRACE_RUN_KEY"
"""The environment variable by which the load generator gets its key."""


@dataclass(frozen=True)
class RunOptions:
    """What the command line decides about a run, beside the fleet file."""

    duration_s: float | None
    requests: int | None
    processes: int
    gateway_port: int
    seed: int


def run(
    fleet_file: Annotated[
        Path | None,
        typer.Argument(help="The fleet file; the packaged example when left out.", metavar="FLEET"),
    ] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", help="Seconds to measure (60 unless --requests).")
    ] = None,
    requests: Annotated[
        int | None, typer.Option("--requests", min=1, help="Requests to measure.")
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Load generator processes.")
    ] = 1,
    gateway_port: Annotated[
        int, typer.Option("--gateway-port", min=0, max=65535, help="Envoy's port; 0: a free one.")
    ] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run; runs/<id> if unset.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of prompts and arrivals.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print summary.json on stdout.")] = False,
) -> None:
    """Plan, start, load, prove and report a fleet, then stop it."""
    from headrace.cli.measure import judge
    from headrace.runs import new_run_dir

    if duration is not None and duration <= 0:
        raise InputError(f"--duration {duration:g}: expected seconds above 0")
    fleet_file = fleet_file if fleet_file is not None else _example()
    fleet = _startable(fleet_file)
    span = duration if duration is not None or requests is not None else DURATION_S
    options = RunOptions(span, requests, processes, gateway_port, seed)
    planned = _plan(fleet, fleet_file)
    run_dir = new_run_dir(fleet.name, output, force=force)
    summary = execute(planned, run_dir, options, force=force)
    report = _report(run_dir)
    _show(planned, summary, run_dir, report)
    if json:
        print_json(summary)
    judge(fleet.slo.limits(), summary)


def _example() -> Path:
    """The packaged recipe that runs when no file is named."""
    from headrace.spec.recipes import EXAMPLE, recipe_path

    console.print(f"no fleet file named: running the packaged example, {EXAMPLE}")
    return recipe_path(EXAMPLE)


def _startable(fleet_file: Path) -> Fleet:
    from headrace.cli.plan import named_in
    from headrace.cli.start import require_startable
    from headrace.proof.compare import require_sendable
    from headrace.spec.load import load_fleet

    fleet = load_fleet(fleet_file)
    require_startable(fleet, fleet_file)
    with named_in(fleet_file, "workload"):
        require_sendable(fleet.workload)
    return fleet


def _plan(fleet: Fleet, fleet_file: Path) -> Plan:
    from headrace.cli.plan import named_in, plan_for, show_plan
    from headrace.proof.compare import require_shared

    planned = plan_for(fleet, fleet_file)
    with named_in(fleet_file, "workload", "refill"):
        require_shared(planned)
    show_plan(planned, brief=True)
    return planned


def execute(planned: Plan, run_dir: Path, options: RunOptions, *, force: bool) -> Summary:
    """Start the planned fleet, load it, stop it whatever happens; files are left in `run_dir`."""
    from headrace.cli.measure import bench_with_progress
    from headrace.proof.compare import bench_spec, with_plan
    from headrace.proof.gpu_use import GpuWatch, gpu_use
    from headrace.runs import write_plan_files
    from headrace.targets.local.fleet import read_deployment

    write_plan_files(planned, run_dir)
    watch = GpuWatch(lambda: read_deployment(run_dir))
    with _running(planned, run_dir, options) as urls, watch:
        spec = bench_spec(planned, urls, options.duration_s, options.requests)
        update = {"processes": options.processes, "seed": options.seed}
        spec = spec.model_copy(update=update | _own_key(planned.fleet.gateway.keys_file))
        summary = bench_with_progress(spec, run_dir, force=force, seen=watch.seen)
    summary = with_plan(summary, planned).model_copy(update={"gpus": gpu_use(watch.readings)})
    replace_file(run_dir / "summary.json", summary.model_dump_json(indent=2) + "\n")
    return summary


def _own_key(keys_file: str | None) -> dict[str, str]:
    """The load generator's key: the first valid one of the fleet's own file, by the environment."""
    import os
    from datetime import UTC, datetime

    from headrace.gateway.keys import read_keys

    if keys_file is None:
        return {}
    now = datetime.now(UTC)
    valid = [key for key in read_keys(Path(keys_file)) if key.is_valid(now)]
    if not valid:
        raise InputError(f"{keys_file}: every key has ended", hint="add one for the load")
    os.environ[RUN_KEY] = valid[0].key
    return {"api_key_env": RUN_KEY}


@contextmanager
def _running(planned: Plan, run_dir: Path, options: RunOptions) -> Iterator[list[str]]:
    """The fleet, ready, as the URLs that clients call; stopped on the way out."""
    from headrace.cli.start import start_fleet, stop_fleet

    fleet, deployment = start_fleet(
        planned, run_dir, attached=True, gateway_port=options.gateway_port
    )
    try:
        yield deployment.urls
    finally:
        stop_fleet(fleet)


def _report(run_dir: Path) -> Path:
    from headrace.report.write import write_report

    return write_report([run_dir], run_dir / "report.html", force=True)


def _show(planned: Plan, summary: Summary, run_dir: Path, report: Path) -> None:
    comparison = summary.plan
    if comparison is not None:
        console.print(
            f"[bold]measured / predicted[/]  total tok/s {comparison.total_tok_s_ratio:.3f}, "
            f"TPOT {comparison.tpot_ratio:.3f}, TTFT {comparison.ttft_ratio:.3f}"
        )
    if summary.gpus:
        from headrace.proof.gpu_use import in_words

        console.print(f"[bold]GPUs[/]  {in_words(summary.gpus)}", soft_wrap=True)
    if summary.engine == "simulated":
        console.print(
            f"[yellow]simulated[/]: {planned.chosen.layout.gpus} x {planned.gpu} were simulated; "
            "gateway, streams and client were real"
        )
    if planned.stand_ins:
        from headrace.engines.vllm.stand_ins import described

        console.print(f"[yellow]stand-ins[/]  {escape(described(planned.stand_ins))}")
    console.print(f"[bold]report[/]  {escape(str(report))}", soft_wrap=True)
    console.print(f"[dim]records, summary and logs: {escape(str(run_dir))}[/]", soft_wrap=True)
