"""`headrace plan` with --gpu, --what-if or --against: several plans side by side, all predicted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from headrace.cli.output import console, print_json
from headrace.cli.plan import checkpoints_of, named_in, plan_for
from headrace.errors import HeadraceError, InputError
from headrace.hardware.load import load_gpu_of
from headrace.planner import rank, what_if
from headrace.planner.plan import Plan
from headrace.spec.fleet import Fleet
from headrace.spec.load import load_fleet
from headrace.spec.slo import Slo

if TYPE_CHECKING:
    from headrace.planner.compare import Ground, Step

PATIENCE_S = 2.0
"""A ranking says how far it is once it has taken this long."""


def plan_with(
    fleet: Fleet,
    fleet_file: Path,
    output: Path | None,
    *,
    json: bool,
    gpu: list[str] | None,
    what_if: list[str] | None,
    against: Path | None,
) -> None:
    """One of the three. Raises InputError when they are combined."""
    if sum(bool(option) for option in (gpu, what_if, against)) > 1:
        raise InputError(
            "--gpu, --what-if and --against are each a comparison of its own: give one of them",
            hint="--what-if hardware.gpu=H200 may be joined by more --what-if fields.",
        )
    if output is not None:
        raise InputError(
            "--output writes one plan, and this compares several",
            hint="leave --output out and redirect --json: headrace plan ... --json > file.json",
        )
    if gpu:
        _rank(fleet, fleet_file, gpu, json=json)
    elif what_if:
        _what_if(fleet, fleet_file, what_if, json=json)
    elif against:
        _against(fleet, fleet_file, against, json=json)


def _rank(fleet: Fleet, fleet_file: Path, wanted: list[str], *, json: bool) -> None:
    from headrace.models.load import load_model

    names = _gpus(fleet, wanted)
    with named_in(fleet_file, "hardware", "gpu"):
        own = load_gpu_of(fleet.hardware).name
    with named_in(fleet_file, "model"):
        facts = load_model(fleet.model)
    others = checkpoints_of(fleet, facts, fleet_file)
    rows = []
    for name in _patiently(names):
        placed = rank.on_gpu(fleet, name, own=name == own)
        with named_in(fleet_file, "engine"):
            rows.append(rank.rank_on(placed, facts, load_gpu_of(placed.hardware), others))
    rows = rank.ranked(rows)
    if json:
        print_json({"ranking": [row.model_dump(mode="json") for row in rows]})
    else:
        _show_ranking(fleet, rows)


def _patiently(names: list[str]) -> Iterator[str]:
    """The names; how far it is shows on a terminal once it has taken long."""
    began = time.perf_counter()
    status = console.status("planning")
    try:
        for i, name in enumerate(names):
            if time.perf_counter() - began > PATIENCE_S:
                status.update(f"planned on {i} of {len(names)} GPUs; now {escape(name)}")
                status.start()
            yield name
    finally:
        status.stop()


def _gpus(fleet: Fleet, wanted: list[str]) -> list[str]:
    """Catalog names, each once; `all` are those that are GPUs, not the CPU."""
    from headrace.hardware.load import load_catalog

    catalog = Path(fleet.hardware.catalog) if fleet.hardware.catalog else None
    names: list[str] = []
    for name in wanted:
        if name.lower() == "all":
            names += [gpu.name for gpu in load_catalog(catalog).values() if gpu.kind == "gpu"]
            continue
        try:
            names.append(load_gpu_of(rank.on_gpu(fleet, name, own=False).hardware).name)
        except InputError as error:
            raise InputError(f"--gpu {name}: {error}", hint=error.hint) from error
    return list(dict.fromkeys(names))


def _show_ranking(fleet: Fleet, rows: list[rank.Ranked]) -> None:
    table = Table(
        title=f"predicted, {escape(fleet.name)} {_ranked_for(fleet)}",
        title_justify="left",
        box=None,
    )
    table.add_column("GPU", no_wrap=True)
    for name in ("USD/Mtok", "USD/h", "total tok/s", "band", "per GPU", "TPOT ms", "GPUs", "TP"):
        table.add_column(name, justify="right")
    for row in rows:
        if row.feasible:
            table.add_row(*_rank_cells(row))
    console.print(table)
    for row in rows:
        if row.reason:
            console.print(f"  {escape(row.gpu)}: {escape(row.reason)}", soft_wrap=True)


def _ranked_for(fleet: Fleet) -> str:
    load, count = fleet.workload, fleet.hardware.gpus
    if fleet.goal != "throughput" and load.request_rate:
        return f"for {load.request_rate:g} requests/s"
    if fleet.goal != "throughput" and load.token_rate:
        return f"for {load.token_rate:g} total tok/s"
    return f"on {count} GPU{'s'[: count > 1]} of each type"


def _rank_cells(row: rank.Ranked) -> list[str]:
    low, high = (row.low_total_tok_s or 0) / 1e3, (row.high_total_tok_s or 0) / 1e3
    return [
        escape(row.gpu),
        _number(row.usd_per_million_tokens, 4),
        _number(row.usd_per_gpu_hour, 2),
        _number(row.total_tok_s),
        f"{low:.0f}-{high:.0f}k",
        _number(row.total_tok_s_per_gpu),
        _number(row.tpot_ms, 1),
        str(row.layout.gpus) if row.layout else "",
        str(row.layout.tensor_parallel) if row.layout else "",
    ]


def _what_if(fleet: Fleet, fleet_file: Path, texts: list[str], *, json: bool) -> None:
    changes = what_if.parse_changes(texts)
    other = what_if.changed(fleet, changes)
    base = plan_for(fleet, fleet_file)
    options = " ".join(f"{what_if.OPTION} {text}" for text in texts)
    try:
        made = plan_for(_priced(fleet, other, changes))
    except HeadraceError as error:
        raise type(error)(f"{options}: {error}", hint=error.hint) from error
    if json:
        fields = {change.name: change.value for change in changes}
        print_json({"base": _plain(base), "changed": _plain(made), "fields": fields})
    else:
        _show_what_if(base, made, changes)


def _priced(fleet: Fleet, other: Fleet, changes: list[what_if.Change]) -> Fleet:
    """The file's price again where the changed GPU is the file's own under another name."""
    if any(change.path[0] == "hardware" and change.path[1:] != ("gpu",) for change in changes):
        return other
    if load_gpu_of(other.hardware).name != load_gpu_of(fleet.hardware).name:
        return other
    return other.model_copy(update={"hardware": fleet.hardware})


def _show_what_if(base: Plan, made: Plan, changes: list[what_if.Change]) -> None:
    console.print(f"[bold]{escape(base.fleet.name)}[/], and with")
    for change in changes:
        console.print(f"  {escape(change.text)}", soft_wrap=True)
    table = Table(title="predicted", title_justify="left", box=None)
    table.add_column("")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right")
    for figure in what_if.figures(base, made):
        places = 4 if figure.name.startswith("USD") else 1 if figure.name.startswith("TP") else 0
        name = f"{figure.name}, {figure.unit}" if figure.unit else figure.name
        cells = (_number(figure.before, places), _number(figure.after, places))
        table.add_row(name, *cells, _percent(figure.change))
    console.print(table)
    _show_args(base, made)


def _show_args(base: Plan, made: Plan) -> None:
    differing = what_if.differing_args(base, made)
    if not differing:
        console.print("the same vLLM options in both")
        return
    table = Table(title="vLLM options that differ", title_justify="left", box=None)
    for name in ("option", "before", "after"):
        table.add_column(name, overflow="fold")
    for option, (before, after) in differing.items():
        table.add_row(escape(option), _value(before), _value(after))
    console.print(table)


def _against(fleet: Fleet, fleet_file: Path, other_file: Path, *, json: bool) -> None:
    from headrace.planner import compare

    other = load_fleet(other_file)
    differing = compare.differing_fields(_named(fleet), _named(other))
    _require_same(differing, fleet_file, other_file)
    chosen = plan_for(fleet, fleet_file)
    base = plan_for(_as_it_is(other), other_file)
    steps = compare.compare(base, chosen, _ground(base.fleet), _ground(chosen.fleet))
    if json:
        rows = [step.model_dump(mode="json") for step in steps]
        print_json({"base": _plain(base), "chosen": _plain(chosen), "steps": rows})
    else:
        _show_steps(base, chosen, steps)


def _named(fleet: Fleet) -> Fleet:
    """The fleet with its GPU's name as the catalog spells it."""
    return rank.on_gpu(fleet, load_gpu_of(fleet.hardware).name, own=True)


def _as_it_is(other: Fleet) -> Fleet:
    """A configuration that is not planned is compared even where it misses its own goals."""
    return other if other.engine.planned else other.model_copy(update={"slo": Slo()})


def _ground(fleet: Fleet) -> Ground:
    from headrace.models.load import load_model
    from headrace.perf.load import current_constants
    from headrace.planner.compare import Ground

    return Ground(load_model(fleet.model), load_gpu_of(fleet.hardware), current_constants())


def _require_same(differing: dict[str, tuple[Any, Any]], file: Path, other: Path) -> None:
    if not differing:
        return
    listed = "; ".join(f"{name} is {a} here and {b} there" for name, (a, b) in differing.items())
    raise InputError(
        f"--against {other}: not the same model, machines and requests as {file}: {listed}",
        hint="make these fields alike; to compare them, use --what-if FIELD=VALUE or --gpu",
    )


def _show_steps(base: Plan, chosen: Plan, steps: list[Step]) -> None:
    console.print(
        f"from [bold]{escape(base.fleet.name)}[/] to [bold]{escape(chosen.fleet.name)}[/]"
    )
    title = "predicted total tok/s, one setting after the other"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("setting", overflow="fold", max_width=22)
    table.add_column("from -> to", overflow="fold", max_width=20)
    for name in ("tok/s", "gain", "without", "TPOT"):
        table.add_column(name, justify="right")
    for step in steps:
        table.add_row(*_step_cells(step))
    console.print(table)
    for step in steps:
        if step.reason:
            word = "runs, but" if step.total_tok_s is not None else "does not run on its own:"
            name = step.setting or base.fleet.name
            console.print(f"  {escape(name)} {word} {escape(step.reason)}", soft_wrap=True)
    _show_whole(base, chosen)


def _step_cells(step: Step) -> list[str]:
    first = step.setting is None
    return [
        "as it is" if first else escape(str(step.setting)),
        "" if first else f"{_short(step.before)} -> {_short(step.after)}",
        "-" if step.total_tok_s is None else _number(step.total_tok_s),
        _percent(step.gain),
        _percent(step.without),
        _number(step.tpot_ms, 1),
    ]


def _short(value: Any) -> str:
    """The end of a hub id or path, which is what two checkpoints differ in."""
    return _value(value.rpartition("/")[2] if isinstance(value, str) else value)


def _show_whole(base: Plan, chosen: Plan) -> None:
    a, b = base.chosen.prediction, chosen.chosen.prediction
    console.print(
        f"in all [bold]{b.total_tok_s / a.total_tok_s - 1:+.1%}[/] predicted; bands "
        f"{a.low_total_tok_s:,.0f} to {a.high_total_tok_s:,.0f} and "
        f"{b.low_total_tok_s:,.0f} to {b.high_total_tok_s:,.0f} total tok/s.\n"
        "gain: over the row above, on which it depends; without: the chosen configuration with "
        "only this one set back; TPOT in ms.",
        soft_wrap=True,
    )


def _plain(made: Plan) -> dict[str, Any]:
    return made.model_dump(mode="json")


def _number(value: float | None, places: int = 0) -> str:
    return "-" if value is None else f"{value:,.{places}f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:+.1f} %"


def _value(value: Any) -> str:
    return "-" if value is None else escape(str(value))
