"""`headrace render`: write what another system is started with, and start nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from headrace.cli.output import console, print_json
from headrace.errors import GoalMissedError


def render(
    target: Annotated[str, typer.Argument(help="kubernetes, slurm, ...", metavar="TARGET")],
    fleet_file: Annotated[Path, typer.Argument(help="The fleet file.", metavar="FLEET")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")],
    diff: Annotated[
        bool,
        typer.Option("--diff", help="Write nothing: show what would change; status 4 if any."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a planned fleet as files for another system; nothing is contacted or started."""
    from headrace.cli.plan import named_in, plan_for, show_plan
    from headrace.spec.load import load_fleet
    from headrace.targets.render import aimed_at, difference, renderer, write

    chosen = renderer(target)
    fleet = aimed_at(load_fleet(fleet_file), target)
    planned = plan_for(fleet, fleet_file)
    with named_in(fleet_file, "target"):
        rendered = chosen.render(planned)
    if diff:
        _show_difference(difference(rendered, output), output)
        return
    paths = write(rendered, output, force=force)
    show_plan(planned, brief=True)
    console.print(f"[bold]wrote[/]  {escape(', '.join(map(str, paths)))}", soft_wrap=True)
    next_step = rendered.next_step.format(folder=output)
    console.print(f"[bold]next:[/]  {escape(next_step)}", soft_wrap=True)
    remark = rendered.remark.format(fleet=fleet_file)
    if remark:
        console.print(f"[yellow]{escape(remark)}[/]", soft_wrap=True)
    if json:
        written = {"target": target, "files": [str(path) for path in paths], "next": next_step}
        print_json({**written, "remark": remark})


def _show_difference(text: str, folder: Path) -> None:
    """On stdout, so that it can be kept or piped into a pager."""
    sys.stdout.write(text)
    if text:
        raise GoalMissedError(
            f"{folder} is not what would be rendered now", hint="render it again with --force"
        )
    console.print(f"{escape(str(folder))} is what would be rendered now")
