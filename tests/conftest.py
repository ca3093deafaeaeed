"""Printed text does not depend on the terminal or the CI that runs the tests."""

import os

for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH", "LINES"):
    os.environ.pop(name, None)
os.environ.update(NO_COLOR="1", COLUMNS="100", TERM="dumb")
