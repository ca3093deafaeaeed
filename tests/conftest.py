"""Tests do not depend on the terminal, on chance, or on what their user has calibrated."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests import sharing

for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH", "LINES"):
    os.environ.pop(name, None)
os.environ.update(NO_COLOR="1", COLUMNS="100", TERM="dumb")
os.environ["HEADRACE_CALIBRATIONS"] = "/nonexistent/calibrations.toml"

CACHE = Path(os.environ.get("HEADRACE_CACHE", Path.home() / ".cache" / "headrace"))
os.environ["PATH"] += f":{CACHE / 'tools'}"  # what scripts/cluster_tools.py fetched

settings.register_profile("headrace", derandomize=bool(os.environ.get("CI")), deadline=None)
settings.load_profile("headrace")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in a script's background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children would ignore it too


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        folder = Path(config.option.basetemp).parent
        config.pluginmanager.register(sharing.Sharing(sharing.Machine(folder)))


def pytest_xdist_auto_num_workers() -> int:
    return sharing.workers()


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> sharing.ByFile:
    config.option.loadscopereorder = False
    return sharing.ByFile(config, log)
