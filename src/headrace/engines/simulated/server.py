"""One process with many simulated replicas: loads, listens, drains."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import time
from datetime import datetime

from headrace.engines.simulated.generation import Served
from headrace.engines.simulated.job import SimulatedJob
from headrace.engines.simulated.protocol import Connection
from headrace.engines.simulated.replica import Replica
from headrace.engines.simulated.service import ReplicaService
from headrace.engines.simulated.text import Tokenizer
from headrace.errors import HeadraceError
from headrace.timers import Timers

BACKLOG = 4096
DRAIN_POLL_S = 0.02


def log(text: str) -> None:
    """A line on stdout, where the log file is. A full disk does not end a server."""
    now = datetime.now().astimezone().strftime("%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        os.write(1, f"INFO {now} simulated engine: {text}\n".encode())


class Server:
    """The replicas of a job and their ports."""

    def __init__(self, job: SimulatedJob, shutdown_timeout_s: float, api_key: str | None) -> None:
        self._job = job
        self._shutdown_timeout_s = shutdown_timeout_s
        self._api_key = api_key
        self._services: list[ReplicaService] = []
        self._listeners: list[asyncio.Server] = []
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises HeadraceError when a port is busy."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        timers = Timers(loop)
        self._services = self._load(timers)
        if not await self._pretend_to_load():
            return
        try:
            for port, service in zip(self._job.ports, self._services, strict=True):
                self._listeners.append(await self._listen(loop, port, service))
            self._log_ready()
            _calm_garbage_collector()
            await self._stopping.wait()
        finally:
            await self._drain()
            timers.close()

    def _load(self, timers: Timers) -> list[ReplicaService]:
        job = self._job
        log(f"loading {job.model} for {len(job.ports)} simulated {job.gpu} replicas")
        served = Served(
            job.model, job.max_model_len, Tokenizer(job.vocab_size), created=int(time.time())
        )
        model = job.replica_model()
        return [
            ReplicaService(
                Replica(model, job.max_model_len, job.seed * 1_000_003 + number, timers),
                served,
                self._api_key,
            )
            for number in range(len(job.ports))
        ]

    async def _pretend_to_load(self) -> bool:
        """Wait as a loading engine would; false when told to stop meanwhile."""
        try:
            await asyncio.wait_for(self._stopping.wait(), self._job.start_delay_s or 0.001)
        except TimeoutError:
            return True
        return False

    async def _listen(
        self, loop: asyncio.AbstractEventLoop, port: int, service: ReplicaService
    ) -> asyncio.Server:
        host = self._job.host
        try:
            return await loop.create_server(
                lambda: Connection(service), host, port, backlog=BACKLOG
            )
        except OSError as error:
            raise HeadraceError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                hint="stop what uses the port, or start the fleet again to get another one",
            ) from error

    def _log_ready(self) -> None:
        ports = self._job.ports
        for number, port in enumerate(ports):
            log(f"replica {number + 1} of {len(ports)} ready on http://{self._job.host}:{port}")
        log("ready: every token comes from a simulated GPU")

    async def _drain(self) -> None:
        """No new requests; those in flight get the shutdown timeout, then are cut."""
        for listener in self._listeners:
            listener.close()
        for service in self._services:
            service.draining = True
            for connection in list(service.connections):
                connection.close_when_done()
        if self._open_connections():
            log(f"draining {self._open_connections()} simulated requests")
        deadline = time.monotonic() + self._shutdown_timeout_s
        while self._open_connections() and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_POLL_S)
        log(f"stopped; {self._cut()} requests were cut")

    def _open_connections(self) -> int:
        return sum(len(service.connections) for service in self._services)

    def _cut(self) -> int:
        connections = [c for service in self._services for c in service.connections]
        for connection in connections:
            connection.abort()
        return len(connections)


def _calm_garbage_collector() -> None:
    """A full collection over thousands of live requests would delay every stream."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
