"""`headrace pin`: what the fleet file's tags mean now, written into it."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from headrace.cli.output import console, print_json
from headrace.errors import GoalMissedError, InputError

if TYPE_CHECKING:
    from headrace.targets.kubernetes.pins.pin import Pin
    from headrace.targets.kubernetes.shape import Shape

STYLES = {"current": "green", "by digest alone": "green"}


def pin(
    fleet_file: Annotated[Path, typer.Argument(help="The fleet file.", metavar="FLEET")],
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing; status 4 when something is unpinned or has moved."
        ),
    ] = False,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            metavar="HOST=URL",
            help="Ask this registry for a host's images: docker.io=https://cache.example; "
            "repeatable.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the pins as JSON.")] = False,
) -> None:
    """Ask registries and the model hub what a fleet's tags mean now, and write it to the file.

    Images become NAME:TAG@DIGEST, the model's revision a commit; all else in the file stays as it
    is. Credentials come from Docker's config.json (`docker login`) and from HF_TOKEN.
    """
    mirrors = dict(_mirror(text) for text in mirror or [])
    with console.status("planning") as line:
        shape = _shape(fleet_file)
        pins = _pins(fleet_file, shape, mirrors, lambda text: line.update(escape(text)))
    before, after = _texts(fleet_file, pins)
    _show(pins, before, after, fleet_file)
    if json:
        fields = [{**vars(one), "field": ".".join(map(str, one.field))} for one in pins]
        print_json({"fleet": str(fleet_file), "changed": before != after, "pins": fields})
    if before == after:
        return
    if check:
        count = sum(one.changes for one in pins)
        raise GoalMissedError(
            f"{fleet_file}: {count} of {len(pins)} names are unpinned or have moved",
            hint=f"headrace pin {fleet_file}",
        )
    _write(fleet_file, after)
    console.print(
        f"[bold]next:[/]  headrace render kubernetes {escape(str(fleet_file))} -o k8s",
        soft_wrap=True,
    )


def _mirror(text: str) -> tuple[str, str]:
    host, equals, url = text.partition("=")
    parts = urlsplit(url)
    if not equals or not host or parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"--mirror {text}: expected HOST=URL, as docker.io=https://cache.example")
    if parts.username or parts.password:
        raise InputError(
            f"--mirror {host}=...: a command line is no place for a password",
            hint=f"docker login {parts.hostname}",
        )
    return host, url.rstrip("/")


def _shape(fleet_file: Path) -> Shape:
    """The fleet on a cluster: its plan says which checkpoint, its target which images."""
    from headrace.cli.plan import named_in, plan_for
    from headrace.spec.load import load_fleet
    from headrace.targets.kubernetes.shape import shape_of

    fleet = load_fleet(fleet_file)
    with named_in(fleet_file, "target"):
        if fleet.target.kind != "kubernetes":
            raise InputError(
                f"{fleet.target.kind} runs no images; expected kind: kubernetes",
                hint="set `target: {kind: kubernetes}` in the fleet file",
            )
    planned = plan_for(fleet, fleet_file)
    with named_in(fleet_file, "target"):
        return shape_of(planned)


def _pins(
    fleet_file: Path, shape: Shape, mirrors: dict[str, str], say: Callable[[str], None]
) -> list[Pin]:
    from headrace.cli.plan import named_in
    from headrace.targets.kubernetes.pins.ask import client
    from headrace.targets.kubernetes.pins.pin import look_up

    with client() as asked, named_in(fleet_file, "target"):
        return look_up(asked, shape, mirrors, say)


def _texts(fleet_file: Path, pins: list[Pin]) -> tuple[str, str]:
    """The file's text, and the text with every pin."""
    from headrace.spec.edit import CannotEditError, with_values

    text = fleet_file.read_bytes().decode()
    values = {one.field: one.after for one in pins if one.changes}
    try:
        return text, with_values(text, values)
    except CannotEditError:
        listed = "\n".join(f"  {'.'.join(map(str, at))}: {v}" for at, v in values.items())
        raise InputError(
            f"{fleet_file} cannot be changed in place (an alias?); nothing was written",
            hint=f"write these into it:\n{listed}",
        ) from None


def _show(pins: list[Pin], before: str, after: str, fleet_file: Path) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for one in pins:
        style = STYLES.get(one.state, "yellow")
        field = ".".join(map(str, one.field))
        table.add_row(field, escape(one.follows), f"[{style}]{one.state}[/]")
    console.print(table)
    name = str(fleet_file)
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="")
    for line in lines:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        console.print(Text(line, style), soft_wrap=True)


def _write(fleet_file: Path, text: str) -> None:
    from headrace.files import replace_file

    replace_file(fleet_file.resolve(), text)
    console.print(f"[bold]wrote[/]  {escape(str(fleet_file))}", soft_wrap=True)
