"""`headrace schema`: the JSON schema of the fleet file."""

from __future__ import annotations

from typing import Annotated

import typer


def schema(
    json: Annotated[
        bool, typer.Option("--json", help="The same: the schema is JSON either way.")
    ] = False,
) -> None:
    """Print the JSON schema of the fleet file."""
    del json
    from headrace.cli.output import print_json
    from headrace.spec.schema import fleet_schema

    print_json(fleet_schema())
