"""`headrace tune`: measure the plan's best candidates on this machine, and keep the best."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.output import print_json
from headrace.errors import GoalMissedError, InputError

if TYPE_CHECKING:
    from headrace.spec.fleet import Fleet
    from headrace.tuner.outcome import Outcome
    from headrace.tuner.search import Search
    from headrace.tuner.setup import Setup
    from headrace.tuner.trial import Trial

BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)?")
INTERRUPTED = "interrupted"
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def tune(
    fleet_file: Annotated[Path, typer.Argument(help="The fleet file.", metavar="FLEET")],
    budget: Annotated[
        str, typer.Option("--budget", help="Time for all of it: 90s, 30m, 2h.")
    ] = "30m",
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            help="A fleet file that is measured first, to compare with.",
            metavar="FILE",
        ),
    ] = None,
    try_: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            metavar="OPTION=A,B",
            help="Values of a vLLM option to try, the first one first; repeatable.",
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            "--window", help="Seconds of each measurement at least (10); never under a request."
        ),
    ] = None,
    max_trials: Annotated[
        int | None, typer.Option("--max-trials", min=1, help="Measure no more than these.")
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Load generator processes.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of prompts.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the search; runs/<id> if unset."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", help="Go on in the folder of an earlier search.", metavar="DIR"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print tune.json on stdout.")] = False,
) -> None:
    """Measure the plan's best candidates, learn from each, and keep the best."""
    from headrace.cli.measure import missed_goals
    from headrace.cli.plan import plan_for
    from headrace.cli.start import require_startable
    from headrace.cli.tune_view import Terminal
    from headrace.files import replace_file
    from headrace.runs import fleet_text, new_run_dir
    from headrace.spec.load import load_fleet
    from headrace.tuner.search import Rules, Search
    from headrace.tuner.setup import Wanted, prepare
    from headrace.tuner.trial import only_one

    if window is not None and window <= 0:
        raise InputError(f"--window {window:g}: expected seconds above 0")
    rules = Rules(_seconds(budget), window, max_trials, processes, seed)
    wanted = Wanted(_extra(try_ or []), load_fleet(baseline) if baseline else None)
    fleet = load_fleet(fleet_file)
    require_startable(fleet, fleet_file, ["local"])
    plan_for(fleet, fleet_file)
    setup = prepare(fleet, wanted, plan_for)
    if resume is None:
        folder, trials = new_run_dir(f"tune-{fleet.name}", output), []
        replace_file(folder / "fleet.yaml", fleet_text(fleet))
    else:
        folder, trials = resume.resolve(), _earlier(resume, fleet, setup)
    goals = fleet.slo.limits()
    with only_one(folder), Terminal(setup) as terminal:
        search = Search(
            setup, folder, plan_for, lambda s: missed_goals(goals, s), rules, terminal, trials
        )
        found = _searched(search, folder, fleet_file)
    if json:
        print_json(found)
    if found.ended == INTERRUPTED:
        raise KeyboardInterrupt
    if found.best is None:
        raise GoalMissedError("no trial was valid and kept the goals")


def _searched(search: Search, folder: Path, fleet_file: Path) -> Outcome:
    """Run the search; however it ends, its files are complete and its table is shown."""
    from headrace.cli.tune_view import show_outcome
    from headrace.files import replace_file
    from headrace.tuner.outcome import outcome, write_fleet

    try:
        ended = search.run()
    except KeyboardInterrupt:
        ended = INTERRUPTED
    kept = folder / "tuned.yaml"
    found = outcome(search, ended, kept)
    replace_file(folder / "tune.json", found.model_dump_json(indent=2) + "\n")
    if found.best is not None:
        write_fleet(search.setup.by_key()[found.best.key], found.best, kept)
    show_outcome(found, folder, fleet_file)
    return found


def _seconds(text: str) -> float:
    match = BUDGET.fullmatch(text.strip())
    if match is None or float(match[1]) <= 0:
        raise InputError(f"--budget {text}: expected a time such as 90s, 30m or 2h")
    return float(match[1]) * SECONDS[match[2]]


def _extra(given: list[str]) -> dict[str, list[Any]]:
    """`stream_interval=1,8` as a name and its values, each read as YAML."""
    import yaml

    found: dict[str, list[Any]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        try:
            listed = yaml.safe_load(f"[{values}]") if equals else []
        except yaml.YAMLError:
            listed = []
        if not name or not listed:
            raise InputError(f"--try {text}: expected OPTION=VALUE,VALUE as in stream_interval=1,8")
        found[name] = listed
    return found


def _earlier(folder: Path, fleet: Fleet, setup: Setup) -> list[Trial]:
    """The trials of an earlier call. Raises InputError when it searched for something else."""
    from headrace.runs import fleet_text
    from headrace.tuner.trial import read_trials

    remembered = folder / "fleet.yaml"
    if not remembered.is_file():
        raise InputError(f"--resume {folder}: no search was begun there")
    if remembered.read_text(encoding="utf-8") != fleet_text(fleet):
        raise InputError(
            f"--resume {folder}: it searched for another fleet file",
            hint=f"compare with {remembered}, or begin anew without --resume",
        )
    trials = read_trials(folder)
    known = setup.by_key()
    strange = next((trial for trial in trials if trial.key not in known), None)
    if strange is not None:
        raise InputError(
            f"--resume {folder}: trial {strange.number} is none of what is to be tried now",
            hint="give the same --try and --baseline as before",
        )
    return trials
