"""`headrace dashboard`: a running fleet's load in a browser, live."""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from headrace.cli.output import console
from headrace.errors import HeadraceError, InputError

if TYPE_CHECKING:
    from headrace.dashboard.watcher import Watcher
    from headrace.planner.plan import Plan

TOKEN_VARIABLE = "HEADRACE_DASHBOARD_TOKEN"


def dashboard(
    name: Annotated[
        str | None, typer.Argument(help="The fleet; may be left out when one runs.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Where the page listens; others need its token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Its port; 0: a free one.")
    ] = 0,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="Serve https with this PEM file.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="The certificate's key.")] = None,
    client_ca: Annotated[
        Path | None,
        typer.Option(
            "--client-ca", help="Ask for a certificate of this authority, not for a token."
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write Grafana's dashboard and Prometheus' files instead."),
    ] = None,
) -> None:
    """Show a running fleet's load in a browser, live; it needs no network. Ctrl-C ends it.

    On this machine anyone who can log in may look. Beyond it the page asks for a token:
    HEADRACE_DASHBOARD_TOKEN, or one that is drawn at every start; with --client-ca for a
    certificate instead.
    """
    from headrace.dashboard.watcher import Watcher
    from headrace.targets.local import registry
    from headrace.targets.local.fleet import read_deployment

    if (certificate is None) != (key is None):
        raise InputError("--certificate and --key belong together", hint="give both or neither")
    if client_ca is not None and certificate is None:
        raise InputError("--client-ca needs https", hint="give --certificate and --key as well")
    _check_files(certificate, key, client_ca)
    entry = registry.find_running(name)
    plan = _plan(entry.run_dir)
    if export is not None:
        from headrace.dashboard.export import write_monitoring

        for path in write_monitoring(export, entry.name, read_deployment(entry.run_dir), plan):
            console.print(f"wrote {escape(str(path))}", soft_wrap=True)
        return
    watcher = Watcher(lambda: read_deployment(entry.run_dir), plan)
    asyncio.run(_serve(watcher, host, port, Doors(certificate, key, client_ca)))


def _plan(run_dir: Path) -> Plan | None:
    from headrace.planner.plan import Plan

    try:
        return Plan.model_validate_json((run_dir / "plan.json").read_bytes())
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Doors:
    """PEM files: of the server, and of the authority whose certificates let clients in."""

    certificate: Path | None
    key: Path | None
    client_ca: Path | None


def _check_files(*files: Path | None) -> None:
    for file in files:
        if file is not None and not file.is_file():
            raise InputError(f"{file}: there is no such file", hint="name a PEM file")


async def _serve(watcher: Watcher, host: str, port: int, doors: Doors) -> None:
    from headrace.dashboard.app import application
    from headrace.gateway.process import is_loopback
    from headrace.node.pages import Page

    own = is_loopback(host) or doors.client_ca is not None
    token = None if own else os.environ.get(TOKEN_VARIABLE) or secrets.token_hex(16)
    hosts = ["127.0.0.1", "localhost", "[::1]"] if is_loopback(host) else ["*"]
    app = application(watcher.document, token, hosts)
    try:
        page = Page(app, doors.certificate, doors.key, doors.client_ca)
        url = page.open(host, port)
    except ssl.SSLError as error:
        raise InputError(
            f"the certificate, its key or the authority cannot be used: {error}",
            hint="give PEM files, and the key that belongs to the certificate",
        ) from error
    except OSError as error:
        raise HeadraceError(
            f"cannot listen on {host}:{port}: {error.strerror}", hint="choose another --port"
        ) from error
    _say(url, token, doors, is_loopback(host))
    try:
        await watcher.run()
    finally:
        await page.close()


def _say(url: str, token: str | None, doors: Doors, loopback: bool) -> None:
    if token is None:
        console.print(f"[bold]live[/]  {url}  (Ctrl-C ends it)", soft_wrap=True)
        if not loopback:
            who = f"a certificate of {escape(str(doors.client_ca))}"
            console.print(f"it is open beyond this machine and asks for {who}", style="yellow")
        return
    own = "the one in HEADRACE_DASHBOARD_TOKEN" if os.environ.get(TOKEN_VARIABLE) else token
    console.print(f"[bold]live[/]  {url}/?token=...  token: {own}", soft_wrap=True)
    console.print("it is open beyond this machine and asks for that token", style="yellow")
    if doors.certificate is None:
        console.print(
            "the token crosses the network in the clear: give --certificate and --key",
            style="yellow",
        )
