"""`headrace calibrate`: the performance model learns from your own runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from headrace.cli.output import console, print_json
from headrace.errors import InputError

if TYPE_CHECKING:
    from headrace.perf.calibration import Calibration
    from headrace.validation.calibrate import Fitted
    from headrace.validation.predict import Case


def calibrate(
    measured: Annotated[
        list[Path],
        typer.Argument(help="Folders of finished runs, or CSV files of points.", metavar="RUN..."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The calibration file, instead of your own that plans read."
        ),
    ] = None,
    constants: Annotated[
        str | None,
        typer.Option(
            help="Constants to fit, by comma; else as many as the rows carry. "
            "kernel_time, host_time (a factor on what follows but the last), step_s, sequence_s, "
            "mixed_s, launch_s, piecewise_s, request_s."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The runs' model, where the folder that they name is not here."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the fit; write nothing.")
    ] = False,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Take runs of simulated GPUs too, to try the path.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace entries of the same name.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fit the model's constants to measurements; plan, simulate and run use them from then on."""
    from headrace.perf.constants import load_constants
    from headrace.perf.load import calibrations_path, read_calibrations, write_calibrations
    from headrace.validation.calibrate import calibrate as fit

    path = output or calibrations_path()
    kept = read_calibrations(path)
    cases = _cases(measured, simulated, model)
    fitted = fit(cases, load_constants(), _names(constants))
    _refuse_replacing(kept, fitted, path, force or dry_run)
    for each in fitted:
        _show(each)
    if not dry_run:
        names = {each.calibration.name for each in fitted}
        others = [entry for entry in kept if entry.name not in names]
        write_calibrations(path, [each.calibration for each in fitted] + others)
        console.print(f"written to {escape(str(path))}; plans use it from now on", soft_wrap=True)
    if json:
        print_json({"path": None if dry_run else str(path), "fitted": list(map(_document, fitted))})


def _cases(measured: list[Path], simulated: bool, model: str | None) -> list[Case]:
    from headrace.perf.constants import load_constants
    from headrace.validation.cells import cases_of
    from headrace.validation.points import load_points
    from headrace.validation.runs import case_of_run

    cases: list[Case] = []
    for path in measured:
        if path.is_dir():
            cases.append(case_of_run(path, load_constants(), simulated, model))
            continue
        found, unsupported = cases_of(load_points(path), load_constants())
        if not found:
            reason = f"{unsupported[0].id}: {unsupported[0].reason}" if unsupported else "no rows"
            raise InputError(f"{path}: no row can be predicted ({reason})", hint="see its columns")
        for row in unsupported[:5]:
            console.print(f"left out {escape(row.id)}: {escape(row.reason)}", soft_wrap=True)
        if len(unsupported) > 5:
            console.print(f"left out {len(unsupported) - 5} more: headrace validate lists them")
        cases += found
    return cases


def _names(given: str | None) -> tuple[str, ...]:
    from headrace.perf.calibration import NAMES

    names = tuple(name.strip() for name in given.split(",")) if given else ()
    for name in names:
        if name not in NAMES:
            raise InputError(
                f"--constants: there is no constant {name!r}", hint=f"there are {', '.join(NAMES)}"
            )
    return names


def _refuse_replacing(
    kept: list[Calibration], fitted: list[Fitted], path: Path, allowed: bool
) -> None:
    names = {entry.name for entry in kept} & {each.calibration.name for each in fitted}
    if names and not allowed:
        raise InputError(
            f"{path}: holds {', '.join(sorted(names))} already",
            hint="add --force to replace it, or name another file with --output",
        )


def _show(fitted: Fitted) -> None:
    """The constants, then every row's errors before and after."""
    calibration = fitted.calibration
    values = ", ".join(f"{name} {value:.4g}" for name, value in fitted.constants.items())
    console.print(f"[bold]{escape(calibration.name)}[/]: {values}", soft_wrap=True)
    console.print(
        f"mean error {100 * fitted.before:.1f} % before, {100 * fitted.after:.1f} % after; "
        f"{calibration.rows} rows, band {100 * calibration.band:.0f} %",
        soft_wrap=True,
    )
    table = Table(title="predicted over measured, errors in %", title_justify="left", box=None)
    table.add_column("row", overflow="fold")
    for name in ("TPOT before", "after", "TTFT before", "after", "tok/s before", "after"):
        table.add_column(name, justify="right")
    for row in fitted.residuals:
        cells = (
            _percent(errors.get(figure))
            for figure in ("tpot", "ttft", "tok_s")
            for errors in (row.before, row.after)
        )
        table.add_row(escape(row.id), *cells)
    console.print(table)


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{100 * error:+.1f}"


def _document(fitted: Fitted) -> dict[str, object]:
    return {
        "calibration": fitted.calibration.model_dump(mode="json"),
        "constants": fitted.constants,
        "mean_error_before": fitted.before,
        "mean_error_after": fitted.after,
        "residuals": [
            {"id": row.id, "before": row.before, "after": row.after} for row in fitted.residuals
        ],
    }
