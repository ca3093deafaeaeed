"""Several machines that load together, on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headrace.cli.output import console
from headrace.errors import InputError
from headrace.loadgen.team import Agents

GATHER_S = 300.0
"""How long a coordinator waits for the machines that it was promised."""


@contextmanager
def gathered(count: int, listen: str | None) -> Iterator[Agents]:
    """The machines that have joined; none unless asked for. Raises InputError, HeadraceError."""
    from headrace.loadgen.wire import parse_address, token

    if bool(count) != bool(listen):
        raise InputError("--agents and --listen: expected both or neither")
    with Agents() as agents:
        if listen is not None:
            address = parse_address(listen, "--listen")
            console.print(f"waiting for {count} machines: headrace bench --join {listen}")
            agents.gather(address, token(), count, GATHER_S)
        yield agents


def join_coordinator(address: str, processes: int) -> None:
    """Load along until the coordinator says goodbye; Ctrl-C leaves it."""
    from headrace.loadgen.agent import join
    from headrace.loadgen.wire import parse_address, token

    if processes < 1:
        raise InputError(f"--processes {processes}: expected 1 or more")
    join(parse_address(address, "--join"), token(), processes, console.print)
