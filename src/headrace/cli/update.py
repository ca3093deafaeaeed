"""`headrace update`: a running fleet gets another plan, one process after the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.output import console, print_json
from headrace.errors import HeadraceError, InputError
from headrace.targets.deployment import Deployment, RolloutState

if TYPE_CHECKING:
    from headrace.node.wanted import Rollout
    from headrace.planner.plan import Plan
    from headrace.targets.local.registry import Entry


def update(
    fleet_file: Annotated[Path, typer.Argument(help="The fleet file.", metavar="FLEET")],
    name: Annotated[
        str | None, typer.Option("--name", help="The running fleet, if it has another name.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the deployment as JSON.")] = False,
) -> None:
    """Plan a fleet file and let the running fleet follow: rolling, back at the first bad replica.

    One process at a time is drained, ended and started anew, so no request fails and no spare GPU
    is needed. Ctrl-C ends only the watching; the update goes on.
    """
    from headrace.cli.follow import acts_on, follow
    from headrace.cli.plan import plan_for, show_plan
    from headrace.cli.status import state_of
    from headrace.node.wanted import ask
    from headrace.spec.load import load_fleet
    from headrace.targets.local import registry

    fleet = load_fleet(fleet_file)
    entry = registry.find_running(name or fleet.name)
    planned = plan_for(fleet, fleet_file)
    show_plan(planned, brief=True)
    rollout = next_rollout(entry, planned, state_of(entry))
    acts_on(entry, "updating")
    ask(entry.run_dir, rollout=rollout)
    generation = rollout.generation
    last = follow(entry, lambda state: _is_over(state.rollout, generation), "updating")
    if json:
        print_json(last)
    if last.rollout and last.rollout.state == "returned":
        raise HeadraceError(
            f"the update was taken back: {last.rollout.detail}",
            hint="the fleet runs its earlier plan; see the log of that replica",
        )
    console.print(f"{entry.name}: every replica runs plan {generation}", style="green")


def next_rollout(entry: Entry, planned: Plan, running: Deployment) -> Rollout:
    """The plan as the fleet's next generation.

    Raises InputError when its replicas are not those that run: that takes a new start.
    """
    from headrace.node.wanted import Rollout, read_wanted

    shape = [len(replica.gpus) for replica in running.replicas]
    layout = planned.chosen.layout
    if shape and shape != [layout.tensor_parallel] * layout.replicas:
        raise InputError(
            f"the plan has {layout.replicas} replicas of {layout.tensor_parallel} GPUs, but "
            f"{len(shape)} of {shape[0]} run",
            hint=f"stop the fleet and start it anew: headrace down {entry.name}",
        )
    before = read_wanted(entry.run_dir).rollout
    slim = planned.model_copy(update={"pareto": [], "rejected": []})
    return Rollout(generation=before.generation + 1 if before else 2, plan=slim)


def _is_over(rollout: RolloutState | None, generation: int) -> bool:
    return (
        rollout is not None
        and rollout.generation == generation
        and rollout.state in ("done", "returned")
    )
