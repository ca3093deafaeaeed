from __future__ import annotations

import os
import subprocess
import sys

from headrace.node.identity import is_running, start_ticks


def test_a_process_is_its_pid_and_its_start():
    pid = os.getpid()
    ticks = start_ticks(pid)
    assert ticks is not None
    assert is_running(pid, ticks)
    assert not is_running(pid, ticks - 1)


def test_a_dead_process_that_nobody_collected_does_not_run():
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert start_ticks(child.pid) is None
    finally:
        child.wait()
