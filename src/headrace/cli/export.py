"""`headrace export`: a measurement in the JSON of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from headrace.cli.output import console, print_json
from headrace.errors import InputError
from headrace.files import replace_file


def export(
    run: Annotated[Path, typer.Argument(help="Folder of the run.", metavar="RUN")],
    kind: Annotated[str, typer.Option("--format", help="vllm or guidellm.")] = "vllm",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; stdout if unset.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a measurement as the JSON that scripts for vLLM's bench or guidellm read."""
    from headrace.loadgen.export import FORMATS
    from headrace.loadgen.past import load_past

    if kind not in FORMATS:
        raise InputError(f"--format {kind}: unknown", hint=f"known: {', '.join(FORMATS)}")
    if output is not None and output.exists() and not force:
        raise InputError(f"{output} exists already", hint="pass --force, or another --output")
    document = FORMATS[kind](load_past(run))
    if output is None:
        print_json(document)
        return
    replace_file(output, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    console.print(f"wrote {output}", soft_wrap=True)
