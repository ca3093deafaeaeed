"""Tests do not depend on the terminal, on chance, or on what their user has calibrated."""

import os
from pathlib import Path

from hypothesis import settings

for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH", "LINES"):
    os.environ.pop(name, None)
os.environ.update(NO_COLOR="1", COLUMNS="100", TERM="dumb")
os.environ["HEADRACE_CALIBRATIONS"] = "/nonexistent/calibrations.toml"

CACHE = Path(os.environ.get("HEADRACE_CACHE", Path.home() / ".cache" / "headrace"))
os.environ["PATH"] += f":{CACHE / 'tools'}"  # what scripts/cluster_tools.py fetched

settings.register_profile("headrace", derandomize=bool(os.environ.get("CI")), deadline=None)
settings.load_profile("headrace")
