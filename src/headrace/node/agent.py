"""The node agent: starts one machine's part of a fleet, watches it, and takes it down whole.

`python -m headrace.node.agent JOB.json [--parent PID]`. It writes `deployment.json` in the run's
folder at every change. SIGTERM or SIGINT: drain, then end; once more: end now. SIGHUP, which it
also gets when the process `--parent` dies: end without waiting for requests in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.gateway.process import gateway_files
from headrace.node.board import Board
from headrace.node.gateway import Gateway
from headrace.node.job import NodeJob
from headrace.node.keeper import PR_SET_PDEATHSIG, prctl, raise_file_limit
from headrace.node.process import Process

LOADING_GRACE_S = 5.0
"""How long a process without a ready replica, which has no requests, may take to end."""
HURRY_GRACE_S = 2.0
KILL_WAIT_S = 10.0


class Agent:
    """One machine's processes and gateway."""

    def __init__(self, job: NodeJob) -> None:
        self.job = job
        files = gateway_files(job.run_dir) if job.gateway else None
        self.board = Board(job, files.endpoints if files else None)
        self.processes = [Process(spec, self.board) for spec in job.processes]
        self.gateway = Gateway(job, files, self.board) if files else None
        self.stopping = asyncio.Event()
        self.hurry = asyncio.Event()
        self._child_ended = asyncio.Event()

    async def run(self) -> None:
        """Start everything, watch it until a stop is asked for, and end it all."""
        self._listen()
        try:
            self.board.publish()
            await self._watch_until_stopped()
        finally:
            await self._drain()

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._asked_to_stop, True)
        loop.add_signal_handler(signal.SIGCHLD, self._child_ended.set)

    def _asked_to_stop(self, now: bool = False) -> None:
        if now or self.stopping.is_set():
            self.hurry.set()
        self.stopping.set()

    async def _watch_until_stopped(self) -> None:
        """A watcher that breaks ends the fleet: its error comes out of here."""
        async with asyncio.TaskGroup() as tasks:
            watchers = [tasks.create_task(self.board.keep_publishing())]
            if self.gateway:
                self.gateway.start()
                watchers.append(tasks.create_task(self.gateway.watch()))
            for process in self.processes:
                process.start()
                watchers.append(tasks.create_task(process.watch(self.job.start_timeout_s)))
                watchers += [tasks.create_task(c) for c in process.health_checks()]
            watchers.append(tasks.create_task(self._notice_deaths()))
            await self.stopping.wait()
            for watcher in watchers:
                watcher.cancel()

    async def _notice_deaths(self) -> None:
        """Look at all children as soon as one ends. The place for a restart policy."""
        while True:
            await self._child_ended.wait()
            self._child_ended.clear()
            for process in self.processes:
                process.notice_death()
            if self.gateway:
                self.gateway.notice_death()

    async def _drain(self) -> None:
        """No new requests, then the engines end in their own time, then the gateway."""
        had_requests = bool(self.board.ids("ready"))
        for replica in self.board.ids("ready", "starting"):
            self.board.update(replica, state="draining", detail=None)
        self.board.publish()
        if self.gateway and had_requests and not self.hurry.is_set():
            await self.gateway.forget_replicas()
        grace_s = self.job.drain_timeout_s if had_requests else LOADING_GRACE_S
        for process in self.processes:
            process.terminate()
        await self._wait_for_end(grace_s)
        await self._end_all()
        self.board.publish()

    async def _wait_for_end(self, grace_s: float) -> None:
        """Until all processes ended, or the time is up, or a second signal makes it short."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        while any(process.is_running() for process in self.processes):
            if self.hurry.is_set():
                deadline = min(deadline, loop.time() + HURRY_GRACE_S)
                self.hurry.clear()
            if loop.time() > deadline:
                return
            await self._pause(0.2)
            for process in self.processes:
                process.mark_stopped_if_ended()
            self.board.publish()

    async def _end_all(self) -> None:
        """Kill what is left, the gateway last: it carried the answers until now."""
        for process in self.processes:
            process.kill()
        if self.gateway:
            self.gateway.terminate()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + KILL_WAIT_S
        while self._anything_left() and loop.time() < deadline:
            await self._pause(0.05)
        for process in self.processes:
            process.mark_stopped_if_ended()
        if self.gateway:
            self.gateway.mark_stopped()

    def _anything_left(self) -> bool:
        children = [process.is_running() for process in self.processes]
        return any(children) or bool(self.gateway and self.gateway.is_running())

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not beyond the next death."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._child_ended.wait(), seconds)
        self._child_ended.clear()


def die_with(parent: int) -> None:
    """End when the process that started this one ends, however it ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
    if os.getppid() != parent:
        sys.exit("the process that started this agent has ended")


def main() -> None:
    """Read the job and run it."""
    arguments = sys.argv[1:]
    if len(arguments) == 3 and arguments[1] == "--parent":
        die_with(int(arguments[2]))
    elif len(arguments) != 1:
        sys.exit("usage: python -m headrace.node.agent JOB.json [--parent PID]")
    raise_file_limit()
    job = NodeJob.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        asyncio.run(Agent(job).run())
    except* HeadraceError as errors:
        sys.exit(f"error: {errors.exceptions[0]}")


if __name__ == "__main__":
    main()
