"""The other machines' side of a load: joins a coordinator, runs its share, hands over the files."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from headrace import __version__
from headrace.errors import HeadraceError
from headrace.loadgen.crew import Crew
from headrace.loadgen.endpoint import resolve_all
from headrace.loadgen.job import Job, decode
from headrace.loadgen.live import Field
from headrace.loadgen.preflight import api_key, secret
from headrace.loadgen.wire import LOST, TOKEN_ENV, receive, send

JOIN_TIMEOUT_S = 120.0
REPORT_S = 0.05
LEFT_BEHIND = ("rows", "gaps", "ticks", "lags", "examples")


def join(address: tuple[str, int], key: bytes, processes: int, say: Callable[[str], None]) -> None:
    """Load what the coordinator asks for until it says goodbye.

    Waits for a coordinator that is not there yet. Raises HeadraceError when none comes, when it
    is lost, or when it refuses this machine.
    """
    wire = _connect(address, key, say)
    send(wire, version=__version__, processes=processes)
    say(f"joined {address[0]}:{address[1]}; waiting for the load")
    try:
        while (message := receive(wire)).get("bye") is None:
            _answer(wire, message, say)
    except LOST as error:
        raise HeadraceError("the coordinator is gone", hint="look at its own output") from error
    if message["bye"]:
        raise HeadraceError(str(message["bye"]))
    say("the load is over")


def _connect(address: tuple[str, int], key: bytes, say: Callable[[str], None]) -> Connection:
    deadline_s = time.monotonic() + JOIN_TIMEOUT_S
    said = False
    while True:
        try:
            return Client(address, authkey=key)
        except AuthenticationError as error:
            raise HeadraceError(
                "the coordinator knows another token", hint=f"set the same {TOKEN_ENV} on both"
            ) from error
        except LOST as error:
            if time.monotonic() > deadline_s:
                where = f"{address[0]}:{address[1]}"
                raise HeadraceError(f"no coordinator at {where} within 2 minutes") from error
            if not said:
                say(f"waiting for a coordinator at {address[0]}:{address[1]}")
                said = True
            time.sleep(0.2)


def _answer(wire: Connection, message: dict[str, Any], say: Callable[[str], None]) -> None:
    if message.get("clock"):
        send(wire, clock_s=time.perf_counter())
    elif "jobs" in message:
        say(f"loading with {len(message['jobs'])} processes")
        folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
        try:
            _load(wire, message, folder)
        except HeadraceError as error:
            send(wire, failed=str(error))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _load(wire: Connection, message: dict[str, Any], folder: Path) -> None:
    """One measurement: workers, their counters every so often, their files at the end."""
    samples = wire.recv_bytes() if message["samples"] else b""
    jobs = [_here(decode(line.encode()), folder, samples) for line in message["jobs"]]
    with Crew(jobs) as crew:
        crew.await_ready()
        send(wire, ready=True)
        go = receive(wire)
        if "go" in go:
            crew.go(float(go["go"]))
            _report(wire, crew, len(jobs))
            crew.stop()
        _hand_over(wire, jobs, folder)


def _here(job: Job, folder: Path, samples: bytes) -> Job:
    """The job with this machine's folder, addresses and keys. Raises HeadraceError."""
    api_key(job.access.api_key_env)
    for name in job.access.header_envs.values():
        secret(name, "--header-env")
    traffic = job.traffic
    if samples:
        path = folder / "samples.jsonl"
        path.write_bytes(samples)
        traffic = replace(traffic, samples=str(path))
    endpoints = resolve_all(job.endpoints)
    return replace(job, folder=str(folder), traffic=traffic, endpoints=endpoints, cpu=None)


def _report(wire: Connection, crew: Crew, workers: int) -> None:
    """Send the counters until told to stop."""
    while not wire.poll(REPORT_S):
        columns = [crew.values(field) for field in Field]
        pages = [[column[worker] for column in columns] for worker in range(workers)]
        send(wire, pages=pages, dead=crew.dead())
    receive(wire)


def _hand_over(wire: Connection, jobs: list[Job], folder: Path) -> None:
    for job in jobs:
        for kind in LEFT_BEHIND:
            for path in folder.glob(f"{kind}-{job.index}.*"):
                send(wire, file=path.name)
                wire.send_bytes(path.read_bytes())
    send(wire, over=True)
