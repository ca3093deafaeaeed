"""`headrace autoscale`: keep as many replicas serving as the load needs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.output import console
from headrace.errors import HeadraceError, InputError

if TYPE_CHECKING:
    from headrace.node.autoscale import ScalingRule
    from headrace.simulator.autoscaling import ScalingPolicy
    from headrace.targets.local.registry import Entry


def autoscale(
    name: Annotated[
        str | None, typer.Argument(help="The fleet; may be left out when one runs.")
    ] = None,
    least: Annotated[int, typer.Option("--least", min=1, help="Replicas kept in any case.")] = 1,
    most: Annotated[
        int | None, typer.Option("--most", min=1, help="Replicas at most; all that are planned.")
    ] = None,
    in_flight: Annotated[
        float | None,
        typer.Option("--in-flight", help="Requests per replica to aim at; the plan's if unset."),
    ] = None,
    hold_down: Annotated[
        float, typer.Option("--hold-down", min=0, help="Seconds of less load before shrinking.")
    ] = 300.0,
    hold_up: Annotated[
        float, typer.Option("--hold-up", min=0, help="Seconds of more load before growing.")
    ] = 0.0,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", min=0, max=0.99, help="No change this near to the target."),
    ] = 0.1,
    cooldown: Annotated[
        float, typer.Option("--cooldown", min=0, help="Seconds after a change without shrinking.")
    ] = 0.0,
    every: Annotated[
        float, typer.Option("--every", min=0.5, help="Seconds between two looks.")
    ] = 10.0,
) -> None:
    """Let as many replicas serve as the load needs, until Ctrl-C or the fleet's end.

    The policy is the simulator's (`headrace simulate` tries it on a whole day in seconds). What it
    asked for last stays when this ends.
    """
    from headrace.simulator.autoscaling import Autoscaler
    from headrace.targets.local import registry

    entry = registry.find_running(name)
    policy = scaling_policy(
        entry.run_dir,
        least,
        most,
        in_flight,
        hold_down_s=hold_down,
        hold_up_s=hold_up,
        tolerance=tolerance,
        cooldown_s=cooldown,
    )
    console.print(
        f"{entry.name}: {policy.least} to {policy.most} replicas, "
        f"{policy.target_in_flight:g} requests in flight in each"
    )
    asyncio.run(keep(entry, Autoscaler(policy), every))


def scaling_policy(
    run_dir: Path, least: int, most: int | None, in_flight: float | None, **more: float
) -> ScalingPolicy:
    """The limits and the target; the plan's where none is given. `more` are other fields.

    Raises InputError.
    """
    from headrace.planner.plan import Plan
    from headrace.simulator.autoscaling import ScalingPolicy

    try:
        plan = Plan.model_validate_json((run_dir / "plan.json").read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{run_dir}: its plan.json cannot be read: {error}") from error
    planned = plan.chosen.layout.replicas
    try:
        return ScalingPolicy(
            least=least,
            most=min(most or planned, planned),
            target_in_flight=in_flight or plan.chosen.prediction.concurrency_per_replica,
            **more,  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise InputError(f"--least, --most, --in-flight: {error}") from error


async def keep(entry: Entry, rule: ScalingRule, every_s: float) -> None:
    """Look, decide, ask; a line for every change."""
    from headrace.dashboard.watcher import samples
    from headrace.node.autoscale import observe
    from headrace.node.wanted import ask, read_wanted
    from headrace.targets.local.fleet import read_deployment

    while entry.alive:
        state = read_deployment(entry.run_dir)
        if state is not None:
            decision = rule.decide(observe(state, await samples(state), time.monotonic()))
            wanted = read_wanted(entry.run_dir).replicas
            if decision.replicas != (len(state.replicas) if wanted is None else wanted):
                ask(entry.run_dir, replicas=decision.replicas)
                console.print(f"replicas: {decision.replicas}, since {decision.reason}")
        await asyncio.sleep(every_s)
    raise HeadraceError(
        f"the agent of fleet {entry.name!r} ended", hint=f"its log: {entry.run_dir}/logs/agent.log"
    )
