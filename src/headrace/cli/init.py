"""`headrace init`: a commented fleet file from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from headrace.cli.output import console, print_json
from headrace.errors import InputError
from headrace.spec.recipes import EXAMPLE, Recipe, recipe_text, recipes

SCHEMA_NAME = "fleet.schema.json"
"""Written beside the fleet file: the first line of every recipe names it, for editors."""


def init(
    recipe: Annotated[
        str, typer.Argument(help="The recipe to start from.", metavar="RECIPE")
    ] = EXAMPLE,
    output: Annotated[Path, typer.Option("--output", "-o", help="The fleet file to write.")] = Path(
        "fleet.yaml"
    ),
    list_: Annotated[bool, typer.Option("--list", help="List the recipes and stop.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a commented fleet file from a recipe, and its schema beside it for editors."""
    if list_:
        _list(recipes(), json=json)
        return
    schema = write_recipe(recipe, output, force=force)
    if json:
        print_json({"recipe": recipe, "fleet": str(output), "schema": str(schema)})
        return
    console.print(f"wrote {escape(str(output))} from the recipe {escape(recipe)}", soft_wrap=True)
    file = escape(str(output))
    console.print(f"[bold]next:[/]  headrace plan {file}, then headrace run {file}", soft_wrap=True)


def write_recipe(recipe: str, output: Path, *, force: bool) -> Path:
    """Write a recipe to `output` and the schema beside it; the schema's path.

    Raises InputError when `output` exists and `force` is not set. A schema that is there already
    is kept unless `force` is set: it may be shared by other fleet files of the folder.
    """
    from headrace.spec.schema import schema_text

    text = recipe_text(recipe)
    if output.is_dir():
        raise InputError(f"{output} is a folder", hint=f"name a file: -o {output / 'fleet.yaml'}")
    if not _write(output, text, force=force):
        raise InputError(f"{output} exists", hint="name another with -o, or pass --force")
    schema = output.parent / SCHEMA_NAME
    _write(schema, schema_text(), force=force)
    return schema


def _write(path: Path, text: str, *, force: bool) -> bool:
    """Whether the file was written: not when it exists and `force` is not set."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}", hint="name another file with -o"
        ) from None
    return True


def _list(listed: list[Recipe], *, json: bool) -> None:
    if json:
        print_json({"recipes": [{"name": recipe.name, "title": recipe.title} for recipe in listed]})
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for recipe in listed:
        table.add_row(recipe.name, escape(recipe.title))
    console.print(table)
    console.print("[bold]next:[/]  headrace init RECIPE -o fleet.yaml")
