"""The `headrace` command: one module per verb, imported when it is called for."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable

import typer

from headrace import __version__
from headrace.cli.output import print_error
from headrace.errors import HeadraceError

VERBS: dict[str, str] = {
    "run": "Plan, start, load, prove and report a fleet, then stop it.",
    "plan": "Find the best configuration for a fleet file and say why.",
    "tune": "Measure the plan's best candidates, learn from each, and keep the best.",
    "init": "Write a commented fleet file from a recipe.",
    "render": "Write a planned fleet as files for another system: Kubernetes, Slurm.",
    "pin": "Fix what a fleet file names by tag: images to digests, the model to a commit.",
    "up": "Start a fleet and leave it running.",
    "status": "Show the replicas of a running fleet.",
    "scale": "Let N replicas of a running fleet serve.",
    "autoscale": "Let as many replicas of a running fleet serve as the load needs.",
    "update": "Give a running fleet another plan, one process after the other.",
    "dashboard": "Show a running fleet's load in a browser, live.",
    "logs": "Show a running fleet's logs.",
    "down": "Drain and stop a running fleet.",
    "bench": "Load any OpenAI-compatible server and measure it.",
    "compare": "Compare two measurements, with intervals on the differences.",
    "export": "Write a measurement as the JSON of vLLM's bench or guidellm.",
    "report": "Write an HTML report of one run, or of several side by side.",
    "simulate": "Simulate a planned fleet: scaling, policies, failures, cost.",
    "validate": "Predict measured points and show the errors by cell.",
    "calibrate": "Teach the performance model from your own runs.",
    "check": "Find what is wrong with Kubernetes manifests, without a cluster.",
    "schema": "Print the JSON schema of the fleet file.",
    "models": "List the packaged models, or show the facts of one.",
    "hardware": "List the GPU catalog.",
}


_OS_HINT = "check the disk's free space and the permissions, or choose another folder"


def application(wanted: str | None) -> typer.Typer:
    """All verbs by name and help, but only the wanted one's module imported.

    `headrace plan` must not wait for the load generator to be imported.
    """
    app = typer.Typer(
        name="headrace",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help="Plan, start, load and prove a fleet of stock vLLM servers.",
        epilog="Start with: headrace run   (simulated GPUs, no file needed)",
    )
    app.callback(invoke_without_command=True)(_version)
    for verb, text in VERBS.items():
        app.command(verb, help=text)(_implementation(verb) if verb == wanted else _unimported)
    return app


def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(f"headrace {__version__}")
        raise typer.Exit


def _implementation(verb: str) -> Callable[..., None]:
    module = importlib.import_module(f"headrace.cli.{verb}")
    implementation: Callable[..., None] = getattr(module, verb)
    return implementation


def _unimported() -> None:
    raise AssertionError("a verb that was not asked for was run")


def main() -> None:
    """Run the command line; end every expected error in one message and its exit status."""
    wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    try:
        application(wanted)()
    except HeadraceError as error:
        print_error(error)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print_error(HeadraceError(f"{where}{error.strerror or error}", hint=_OS_HINT))
        sys.exit(HeadraceError.exit_status)


if __name__ == "__main__":
    main()
