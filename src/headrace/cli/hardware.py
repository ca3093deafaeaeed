"""`headrace hardware`: the GPU catalog, with the source of every figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from headrace.cli.output import console, print_json
from headrace.hardware.gpu import Gpu


def hardware(
    catalog: Annotated[
        Path | None,
        typer.Option(
            "--catalog",
            help="A TOML file whose entries add to the catalog or override single figures "
            "(default: $HEADRACE_HARDWARE).",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, with sources and dates.")
    ] = False,
) -> None:
    """List the GPU catalog."""
    from headrace.hardware.load import entries, load_catalog

    if json:
        listed = entries(catalog)
        figures = {name: entry.model_dump(exclude_none=True) for name, entry in listed.items()}
        print_json({"hardware": figures})
        return
    console.print(_table(load_catalog(catalog)))
    console.print(
        "\nDense peak in TFLOP/s; link in one direction; the lowest on-demand price found. "
        "Sources and dates: headrace hardware --json",
        soft_wrap=True,
    )


def _table(listed: dict[str, Gpu]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("GPU", no_wrap=True)
    for column in ("memory GiB", "TB/s", "bf16", "fp8", "fp4", "link GB/s", "USD/h"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, gpu in listed.items():
        table.add_row(name, *_row(gpu))
    return table


def _row(gpu: Gpu) -> tuple[str, ...]:
    peaks = [gpu.flops.get(dtype) for dtype in ("bf16", "fp8", "fp4")]
    return (
        f"{gpu.memory_bytes / 2**30:.1f}",
        f"{gpu.bandwidth_bytes_s / 1e12:g}",
        *(_number(None if peak is None else peak / 1e12) for peak in peaks),
        f"{gpu.link_bytes_s / 1e9:g}",
        "-" if gpu.usd_per_hour is None else f"{gpu.usd_per_hour:.2f}",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
