"""Several machines under one coordinator: this machine's workers and those of the agents."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from headrace import __version__
from headrace.errors import HeadraceError, InputError
from headrace.loadgen.crew import READY_TIMEOUT_S, STOP_TIMEOUT_S, Crew
from headrace.loadgen.job import Job, encode
from headrace.loadgen.live import Field
from headrace.loadgen.wire import LOST, receive, send

CLOCK_READINGS = 16
CLOCKS = (Field.WARM_S, Field.LAST_OK_S)
"""Counters that are times on the worker's own clock."""


class Agent:
    """One other machine, as the coordinator sees it."""

    def __init__(self, wire: Connection, name: str, processes: int) -> None:
        self.name = name
        self.processes = processes
        self.offset_s = _clock_offset(wire)
        """Its clock minus ours; right to half of the quickest round trip."""
        self.dead: list[str] = []
        self._wire = wire
        self._indexes: list[int] = []
        self._pages: list[list[float]] = []
        self._folder = Path()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def hire(self, jobs: list[Job], samples: Path | None) -> None:
        """Tell it what to load."""
        self.dead = []
        self._indexes = [job.index for job in jobs]
        self._folder = Path(jobs[0].folder)
        self._pages = [[0.0] * len(Field) for _ in jobs]
        text = [encode(replace(job, folder="")).decode() for job in jobs]
        send(self._wire, jobs=text, samples=samples is not None)
        if samples is not None:
            self._wire.send_bytes(samples.read_bytes())

    def await_ready(self) -> None:
        """Return once its workers are ready. Raises HeadraceError."""
        if not self._wire.poll(READY_TIMEOUT_S):
            raise HeadraceError(f"{self.name} was not ready within {READY_TIMEOUT_S:g} s")
        answer = _receive(self._wire, self.name)
        if "failed" in answer:
            raise HeadraceError(f"{self.name}: {answer['failed']}")

    def go(self, start_s: float) -> None:
        """Let its workers start at that time of our clock, and listen to it from here on."""
        send(self._wire, go=start_s + self.offset_s)
        self._over.clear()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def values(self, field: Field) -> list[float]:
        """A counter of each of its workers, as last heard; times on our clock."""
        found = [page[field] for page in self._pages]
        if field in CLOCKS:
            return [value - self.offset_s if value else 0.0 for value in found]
        return found

    def tell_to_stop(self) -> None:
        """Its workers end; their files follow."""
        if not self._over.is_set():
            try:
                send(self._wire, stop=True)
            except LOST:
                self._over.set()

    def await_files(self) -> None:
        """Return once its files are here, or it is lost."""
        if self._thread is not None and not self._over.wait(STOP_TIMEOUT_S):
            self.dead.append(f"{self.name} did not hand over its records in time")

    def bye(self, why: str = "") -> None:
        """Let it go; `why` is an error that it shall show."""
        try:
            send(self._wire, bye=why)
            self._wire.close()
        except LOST:
            return

    def _listen(self) -> None:
        try:
            while True:
                message = receive(self._wire)
                if "pages" in message:
                    self._pages = message["pages"]
                    self.dead = [f"{self.name}: {words}" for words in message["dead"]]
                elif "file" in message:
                    name = Path(str(message["file"])).name
                    (self._folder / name).write_bytes(self._wire.recv_bytes())
                elif "over" in message:
                    break
        except LOST:
            self.dead = [f"{self.name} is gone"]
        self._over.set()


def _receive(wire: Connection, name: str) -> dict[str, Any]:
    try:
        return receive(wire)
    except LOST as error:
        raise HeadraceError(f"{name} is gone") from error


def _clock_offset(wire: Connection) -> float:
    """The other clock minus ours, by the reading with the shortest round trip."""
    found = []
    for _ in range(CLOCK_READINGS):
        before_s = time.perf_counter()
        send(wire, clock=True)
        there_s = float(receive(wire)["clock_s"])
        after_s = time.perf_counter()
        found.append((after_s - before_s, there_s - (before_s + after_s) / 2))
    return min(found)[1]


class Agents:
    """The machines that have joined. A context manager: says goodbye to all of them."""

    def __init__(self) -> None:
        self.members: list[Agent] = []

    def __enter__(self) -> Agents:
        return self

    def __exit__(self, *error: object) -> None:
        for agent in self.members:
            agent.bye("the coordinator ended with an error" if error[0] else "")

    def gather(self, address: tuple[str, int], key: bytes, count: int, wait_s: float) -> None:
        """Listen until `count` machines have joined.

        Raises InputError when the address cannot be used, HeadraceError when too few come.
        """
        try:
            listener = Listener(address, backlog=64, authkey=key)
        except OSError as error:
            raise InputError(f"--listen {address[0]}:{address[1]}: {error.strerror}") from error
        closer = threading.Timer(wait_s, listener.close)
        closer.daemon = True
        closer.start()
        try:
            while len(self.members) < count:
                self._welcome(listener)
        except OSError as error:
            came = len(self.members)
            raise HeadraceError(f"{came} of {count} machines joined in {wait_s:g} s") from error
        finally:
            closer.cancel()
            listener.close()

    def _welcome(self, listener: Listener) -> None:
        """Take in one machine; whoever cannot prove that it knows the token is left out."""
        try:
            wire = listener.accept()
        except (AuthenticationError, EOFError):
            return
        try:
            hello = receive(wire)
            name = f"machine {len(self.members) + 1}"
            if hello.get("version") != __version__:
                send(wire, bye=f"the coordinator is headrace {__version__}, install the same")
                return
            self.members.append(Agent(wire, name, int(hello["processes"])))
        except (EOFError, ConnectionError):
            return

    @property
    def processes(self) -> int:
        """Worker processes on all of them."""
        return sum(agent.processes for agent in self.members)


class Team:
    """Local workers (the first ones, one at least) and those of agents, as one.

    A context manager as Crew is.
    """

    def __init__(self, jobs: list[Job], agents: Agents, samples: Path | None) -> None:
        self._agents: list[Agent] = []
        left = len(jobs)
        for agent in agents.members:
            mine = min(agent.processes, left - 1)
            if mine:
                agent.hire(jobs[left - mine : left], samples)
                self._agents.insert(0, agent)
            left -= mine
        self._crew = Crew(jobs[:left])

    def __enter__(self) -> Team:
        self._crew.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._crew.__exit__(*error)

    def await_ready(self) -> None:
        """Return once all workers are ready. Raises HeadraceError when one cannot start."""
        self._crew.await_ready()
        for agent in self._agents:
            agent.await_ready()

    def go(self, start_s: float) -> None:
        """Let all start at that time of this machine's clock."""
        for agent in self._agents:
            agent.go(start_s)
        self._crew.go(start_s)

    def starts(self, start_s: float) -> list[float]:
        """That time on each worker's own clock, by the worker's index."""
        theirs = [start_s + a.offset_s for a in self._agents for _ in a.values(Field.READY)]
        return self._crew.starts(start_s) + theirs

    def values(self, field: Field) -> list[float]:
        """A counter of each worker, times on this machine's clock."""
        return self._crew.values(field) + [v for a in self._agents for v in a.values(field)]

    def total(self, field: Field) -> float:
        """A counter summed over the workers."""
        return sum(self.values(field))

    def dead(self) -> list[str]:
        """Workers and machines that are gone."""
        return self._crew.dead() + [words for agent in self._agents for words in agent.dead]

    def stop(self) -> None:
        """Stop all, and wait for all files."""
        for agent in self._agents:
            agent.tell_to_stop()
        self._crew.stop()
        for agent in self._agents:
            agent.await_files()
