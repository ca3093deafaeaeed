"""Where a verb prints: people read stderr, programs read one JSON document on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.markup import escape

from headrace.errors import HeadraceError

if TYPE_CHECKING:  # pydantic takes a third of the time that `headrace --help` takes
    from pydantic import BaseModel

console = Console(stderr=True, highlight=False)


def print_json(document: BaseModel | dict[str, Any]) -> None:
    """The one JSON document of a verb called with `--json`."""
    data = document if isinstance(document, dict) else document.model_dump(mode="json")
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    sys.stdout.write(orjson.dumps(data, option=options).decode() + "\n")
    sys.stdout.flush()


def print_error(error: HeadraceError) -> None:
    """One message, then what to do about it."""
    console.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
    if error.hint:
        console.print(f"[bold]next:[/]  {escape(error.hint)}", soft_wrap=True)
