"""The process of a placer: a child of a fleet's head, told to end by SIGTERM."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from headrace.errors import HeadraceError


class Stop(BaseException):
    """The head wants the fleet taken back."""


def run_placer(place: Callable[[Path], None]) -> None:
    """Place the fleet of the run that the command line names; `Stop` is raised in it by SIGTERM."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m PLACER RUN, the folder of a run")
    signal.signal(signal.SIGTERM, _stop)
    try:
        place(Path(sys.argv[1]))
    except Stop:
        return
    except HeadraceError as error:
        sys.exit(f"error: {error}")


def _stop(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stop
