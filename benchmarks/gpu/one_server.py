"""One vLLM server over several GPUs (`--data-parallel-size`), where a fleet has a replica on each.

A fleet's replicas are independent; this is what they are compared with. It starts what the plan
says of one replica, with all the machine's GPUs in sight, and stops it on the way out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.planner.plan import Plan
from headrace.runs import write_plan_files
from headrace.targets.local.job import plan_job
from headrace.tuner.session import Served

STOP_S = 40
COMMAND = "command.json"
"""Left in the folder of each such server, and of no fleet."""


@contextmanager
def one_server(plan: Plan, folder: Path, on_phase: Callable[[str], None]) -> Iterator[Served]:
    """Start it and wait until it is healthy. Raises HeadraceError when it ends before that.

    Leaves plan.json, fleet.yaml, command.json, startup.json and logs/ in `folder`.
    """
    write_plan_files(plan, folder)
    processes = plan_job(plan, folder).processes
    process, url = processes[0], processes[0].replicas[0].url
    argv = [*process.argv, "--data-parallel-size", str(len(processes))]
    gpus = ",".join(str(gpu) for each in processes for gpu in each.replicas[0].gpus)
    env = {**os.environ, **process.env, "CUDA_VISIBLE_DEVICES": gpus}
    (folder / COMMAND).write_text(json.dumps(argv, indent=1), encoding="utf-8")
    process.log.parent.mkdir(exist_ok=True)
    began_s = time.monotonic()
    with process.log.open("ab") as log:
        server = subprocess.Popen(argv, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_healthy(server, url, process.log)
        ready_s = round(time.monotonic() - began_s, 2)
        phases = [{"phase": "ready", "at_s": ready_s}]
        (folder / "startup.json").write_text(json.dumps(phases), encoding="utf-8")
        on_phase("ready")
        yield Served(plan, [url], [url], ready_s)
    finally:
        server.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_S)
        server.kill()
        server.wait()


def _wait_healthy(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    while server.poll() is None:
        with suppress(OSError):
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            return
        time.sleep(0.5)
    last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    raise HeadraceError("the server ended: " + " / ".join(last), hint=f"see {log}")
