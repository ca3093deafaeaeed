"""Which fleets run on this machine for this user: what `status`, `logs` and `down` find."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.errors import InputError
from headrace.files import replace_file
from headrace.node.identity import is_running


class Entry(BaseModel):
    """A fleet that was started here. `name` is the fleet's, or that with the agent's pid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    run_dir: Path
    agent_pid: int
    agent_start_ticks: int | None

    @property
    def alive(self) -> bool:
        """Whether its agent runs."""
        return is_running(self.agent_pid, self.agent_start_ticks)


def folder() -> Path:
    """Where the entries lie: `$HEADRACE_STATE_DIR`, else Headrace's part of the XDG state.

    Machines that share a home folder have their own entries: a pid means nothing elsewhere.
    """
    chosen = os.environ.get("HEADRACE_STATE_DIR")
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    place = Path(chosen) if chosen else Path(state) / "headrace"
    return place / "fleets" / platform.node()


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the registry for the block: two commands at once take turns.

    Raises InputError when the state folder cannot be written.
    """
    place = folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        handle = (place / ".lock").open("w")
    except OSError as error:
        raise InputError(
            f"cannot write the state folder {place}: {error.strerror}",
            hint="set HEADRACE_STATE_DIR to a folder that you may write",
        ) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def entries() -> list[Entry]:
    """All entries by name, those of dead agents too. A file that is no entry is left out."""
    found = []
    for path in sorted(folder().glob("*.json"), key=lambda path: path.stem):
        with contextlib.suppress(ValidationError, FileNotFoundError):
            found.append(Entry.model_validate_json(path.read_bytes()))
    return found


def running() -> list[Entry]:
    """The fleets whose agents run."""
    return [entry for entry in entries() if entry.alive]


def write(entry: Entry) -> None:
    """Add or replace an entry; the caller holds the lock."""
    replace_file(folder() / f"{entry.name}.json", entry.model_dump_json(indent=2) + "\n")


def remove(entry: Entry) -> None:
    """Forget a fleet, unless another one has taken its name since."""
    with locked():
        if entry in entries():
            (folder() / f"{entry.name}.json").unlink(missing_ok=True)


def find(name: str | None) -> Entry:
    """The entry of that name, dead ones included; without a name, the only fleet that runs.

    Raises InputError that names the fleets that run.
    """
    alive = running()
    if name is None and len(alive) == 1:
        return alive[0]
    named = [entry for entry in entries() if entry.name == name]
    if named:
        return named[0]
    if not alive:
        subject = f"no fleet is called {name!r}: none runs" if name else "no fleet runs"
        raise InputError(f"{subject} on this machine", hint="start one: headrace up FLEET.yaml")
    names = ", ".join(entry.name for entry in alive)
    what = f"no fleet {name!r} runs" if name else "more than one fleet runs"
    raise InputError(f"{what} on this machine; running: {names}", hint="name one of these")


def find_running(name: str | None) -> Entry:
    """As `find`, but only a fleet that runs. Raises InputError."""
    entry = find(name)
    if not entry.alive:
        raise InputError(
            f"fleet {entry.name!r} runs no more", hint=f"see why: headrace status {entry.name}"
        )
    return entry
