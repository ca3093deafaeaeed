"""A child of the agent: a program inside its keeper, with its output in a log file."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

KEEPER = Path(__file__).with_name("keeper.py")
ORPHAN_GRACE_S = 3.0
"""How long a program may go on after SIGTERM when the agent was killed."""
SECRET_OPTIONS = ("api-key", "hf-token", "password", "secret")


class Child:
    """One running program. The signals go to its keeper, which ends its descendants too."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        *,
        cpus: Sequence[int] = (),
        folder: Path | None = None,
    ) -> None:
        """Start it. `env` is added to this process's own and is not written to the log.

        `cpus` are the cores that it may use (all when empty), `folder` its working folder. Must be
        called from the main thread: a parent's death is noticed by thread.
        """
        self.log = log
        self.log_start = write_header(log, argv)
        keeper = [sys.executable, "-I", "-S", str(KEEPER), str(os.getpid()), str(ORPHAN_GRACE_S)]
        keeper.append(",".join(map(str, cpus)) or "-")
        with log.open("ab") as output:
            self._keeper = subprocess.Popen(
                [*keeper, *argv],
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
                cwd=folder,
            )
        self._announced = b""

    @property
    def pid(self) -> int | None:
        """The program's own pid; None for the first moments, until its keeper has said it."""
        pipe = self._keeper.stdout
        if pipe is not None and not pipe.closed:
            os.set_blocking(pipe.fileno(), False)
            with contextlib.suppress(BlockingIOError):
                self._announced += os.read(pipe.fileno(), 64)
            if self._announced.endswith(b"\n"):
                pipe.close()
        return int(self._announced) if self._announced.endswith(b"\n") else None

    def exit_code(self) -> int | None:
        """None while it or a descendant of it runs; negative: the signal that ended it."""
        code = self._keeper.poll()
        if code is not None and self._keeper.stdout is not None:
            self._keeper.stdout.close()
        return code

    def terminate(self) -> None:
        """Ask the program to end, in its own time."""
        self._keeper.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the program and all its descendants now."""
        self._keeper.send_signal(signal.SIGUSR1)


def write_header(log: Path, argv: Sequence[str]) -> int:
    """Append when and how the program was started; returns where its own output begins.

    On a full disk the program is started without.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    header = f"# {now} {shlex.join(without_secrets(argv))}\n".encode()
    with log.open("ab", buffering=0) as output:
        with contextlib.suppress(OSError):
            output.write(header)
        return output.tell()


def without_secrets(argv: Sequence[str]) -> list[str]:
    """The command line with the values of options that hold secrets blotted out."""
    shown: list[str] = []
    hide = False
    for word in argv:
        name, equals, _ = word.partition("=")
        secret = name.startswith("--") and name.replace("_", "-").endswith(SECRET_OPTIONS)
        shown.append("***" if hide else f"{name}=***" if secret and equals else word)
        hide = secret and not equals
    return shown
