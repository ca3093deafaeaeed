"""`headrace simulate`: a planned fleet in virtual time, and questions to it."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from headrace.cli.output import console, print_json
from headrace.errors import GoalMissedError

if TYPE_CHECKING:
    from headrace.simulator.result import Simulation


def simulate(
    fleet_file: Annotated[Path, typer.Argument(help="The fleet file.", metavar="FLEET")],
    nodes: Annotated[
        str | None,
        typer.Option("--nodes", metavar="N,N,...", help="Scaling table over numbers of nodes."),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", help="Routing policy, or `all` to compare them."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", help="Poisson arrivals, requests/s over the whole fleet."),
    ] = None,
    rate_sweep: Annotated[
        bool, typer.Option("--rate-sweep", help="Latency over arrival rates up to saturation.")
    ] = False,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, help="Requests held in flight.")
    ] = None,
    gpus_for: Annotated[
        str | None,
        typer.Option("--gpus-for", metavar="TOK/S", help="Fewest GPUs for a load, e.g. 1.1M."),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option("--gpu", help="With --gpus-for: GPU type; repeatable. Default: the file's."),
    ] = None,
    spare: Annotated[int, typer.Option("--spare", min=0, help="Nodes that may be lost: N+k.")] = 1,
    fail: Annotated[
        list[str] | None,
        typer.Option("--fail", metavar="N@SECONDS", help="So many nodes die then; repeatable."),
    ] = None,
    update: Annotated[
        str | None,
        typer.Option("--update", metavar="N@SECONDS", help="Rolling update, N replicas at a time."),
    ] = None,
    spot: Annotated[
        float | None,
        typer.Option(
            "--spot", metavar="PER_HOUR", help="Machines reclaimed, per machine and hour."
        ),
    ] = None,
    daily: Annotated[
        str | None,
        typer.Option(
            "--daily",
            metavar="PEAK|FILE",
            help="Cost by hour: peak requests/s of a typical day, or a CSV with hour,requests_s.",
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            metavar="FILE",
            help="Arrivals: CSV with sent_s,input_tokens,output_tokens.",
        ),
    ] = None,
    prefill_share: Annotated[
        float | None,
        typer.Option("--prefill-share", help="Disaggregated: share of replicas for prompts only."),
    ] = None,
    prefix_groups: Annotated[
        int, typer.Option("--prefix-groups", min=0, help="Distinct prefixes that prompts share.")
    ] = 0,
    regions: Annotated[
        int, typer.Option("--regions", min=1, help="Regions that nodes and clients lie in.")
    ] = 1,
    region_delay_ms: Annotated[
        float, typer.Option("--region-delay-ms", help="One way between two regions.")
    ] = 40.0,
    picker_ms: Annotated[
        float, typer.Option("--picker-ms", help="One endpoint picker takes so long per request.")
    ] = 0.0,
    gateways: Annotated[int, typer.Option("--gateways", min=1, help="Gateway instances.")] = 1,
    speed_spread: Annotated[
        float, typer.Option("--speed-spread", help="Deviation of replica speed, e.g. 0.01.")
    ] = 0.0,
    start_time: Annotated[
        float, typer.Option("--start-time", help="Seconds until a replica takes requests.")
    ] = 240.0,
    duration: Annotated[
        float, typer.Option("--duration", help="Virtual seconds to measure.")
    ] = 120.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything drawn.")] = 0,
    reference: Annotated[
        bool, typer.Option("--reference", help="Run the readable implementation; slow.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the result; runs/<id>.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print simulation.json on stdout.")] = False,
) -> None:
    """Simulate a planned fleet: scaling, policies, failures, cost."""
    from headrace.cli import simulate_answers as answers
    from headrace.cli import simulate_input as read
    from headrace.cli.plan import plan_for
    from headrace.cli.simulate_view import show
    from headrace.spec.load import load_fleet

    asked = read.Asked(
        duration_s=read.positive("--duration", duration),
        seed=seed,
        quick=not reference,
        nodes=read.whole_numbers("--nodes", nodes),
        policy=read.policy_of(policy),
        all_policies=policy == "all",
        rate=None if rate is None else read.positive("--rate", rate),
        rate_sweep=rate_sweep,
        gpus_for=read.amount("--gpus-for", gpus_for),
        gpus=gpu or [],
        spare=spare,
        failures=[read.count_at("--fail", text) for text in fail or []],
        update=read.count_at("--update", update) if update else None,
        spot=None if spot is None else read.positive("--spot", spot),
        daily=read.hourly_rates(daily),
        trace=read.read_trace(trace),
        prefill_share=read.share("--prefill-share", prefill_share),
        start_s=read.positive("--start-time", start_time),
        prefix_groups=prefix_groups,
        regions=regions,
        region_delay_s=read.positive("--region-delay-ms", region_delay_ms) / 1e3,
    )
    fleet = load_fleet(fleet_file)
    if concurrency is not None:
        load = fleet.workload.model_copy(update={"concurrency": concurrency, "request_rate": None})
        fleet = fleet.model_copy(update={"workload": load})
    plan = plan_for(fleet, fleet_file)
    case = answers.case_for(plan, asked, picker_ms / 1e3, gateways, speed_spread)
    with _folder(f"{fleet.name}-simulated", output, force=force) as run_dir:
        found = answers.answer(plan, case, asked, fleet_file)
        found = found.model_copy(update={"command": shlex.join(["headrace", *sys.argv[1:]])})
        _write(found, run_dir)
    show(found)
    console.print(f"[bold]report[/]  {escape(str(run_dir / 'report.html'))}", soft_wrap=True)
    if json:
        print_json(found)
    _judge(found)


@contextmanager
def _folder(name: str, output: Path | None, *, force: bool) -> Iterator[Path]:
    """The folder of the result; nothing of it is left when there is none."""
    from headrace.runs import new_run_dir

    there = output is not None and output.exists()
    run_dir = new_run_dir(name, output, force=force)
    try:
        yield run_dir
    except BaseException:
        if not there:
            shutil.rmtree(run_dir, ignore_errors=True)
        raise


def _write(found: Simulation, run_dir: Path) -> None:
    from headrace.files import replace_file
    from headrace.report.simulation import simulation_page

    replace_file(run_dir / "simulation.json", found.model_dump_json(indent=2) + "\n")
    replace_file(run_dir / "report.html", simulation_page(found))


def _judge(found: Simulation) -> None:
    """Exit status 4 where a goal of the fleet file cannot be kept."""
    missed = [row.gpu for row in found.sizes if not row.feasible]
    if missed and len(missed) == len(found.sizes):
        raise GoalMissedError(f"no number of nodes keeps the SLO on {', '.join(missed)}")
