"""`headrace up`: start a fleet and leave it running."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from headrace.cli.output import console, print_json


def up(
    fleet_file: Annotated[Path, typer.Argument(help="The fleet file.", metavar="FLEET")],
    gateway_port: Annotated[
        int, typer.Option("--gateway-port", min=0, max=65535, help="Envoy's port; 0: a free one.")
    ] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run; runs/<id> if unset.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Overwrite files in the folder; on a cluster, fields that others have set.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the deployment on stdout.")] = False,
) -> None:
    """Start a fleet and leave it running."""
    from headrace.cli.plan import plan_for, show_plan, write_plan
    from headrace.cli.start import require_startable, start_fleet
    from headrace.runs import new_run_dir
    from headrace.spec.load import load_fleet

    fleet = load_fleet(fleet_file)
    if fleet.target.kind == "kubernetes":
        from headrace.cli.kubernetes import up_on_cluster

        up_on_cluster(fleet, fleet_file, force=force, json=json)
        return
    require_startable(fleet, fleet_file)
    planned = plan_for(fleet, fleet_file)
    show_plan(planned, brief=True)
    run_dir = new_run_dir(fleet.name, output, force=force)
    write_plan(planned, run_dir / "plan.json")
    _, deployment = start_fleet(planned, run_dir, attached=False, gateway_port=gateway_port)
    for url in deployment.urls:
        console.print(f"[bold]ready[/]  {escape(url)}", soft_wrap=True)
    console.print(f"[dim]headrace status {fleet.name}, logs {fleet.name}, down {fleet.name}[/]")
    if json:
        print_json(deployment)
