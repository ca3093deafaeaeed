"""What a verb imports, and how it ends when it is interrupted: in processes of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

HEAVY = {
    "duckdb",
    "envoy",
    "httptools",
    "jinja2",
    "prometheus_client",
    "uvloop",
    "headrace.gateway",
    "headrace.loadgen",
    "headrace.report",
    "headrace.targets",
}
SCRIPT = """
import sys
from headrace.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*sys.modules, file=sys.stderr)
"""


def imported(*words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_help_imports_none_of_the_work():
    assert imported("--help") & {*HEAVY, "numpy", "pydantic", "yaml", "headrace.spec"} == set()


def test_a_plan_imports_nothing_that_serves_or_loads():
    recipe = Path(__file__).parents[2] / "recipes" / "qwen35-27b-b200x96.yaml"
    modules = imported("plan", str(recipe), "--json")
    assert "headrace.planner.search" in modules
    assert modules & HEAVY == set()


def test_ctrl_c_ends_a_verb_without_a_traceback(tmp_path):
    fifo = tmp_path / "fleet.yaml"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [sys.executable, "-c", "from headrace.cli.main import main; main()", "plan", fifo],
        stderr=subprocess.PIPE,
        text=True,
    )
    with fifo.open("w"):  # opens once the verb reads
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in printed
