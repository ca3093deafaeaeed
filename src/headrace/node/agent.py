"""The node agent: starts one machine's part of a fleet, watches it, and takes it down whole.

`python -m headrace.node.agent JOB.json [--parent PID]`, or `--assignment FILE` on one of several
machines (`headrace.node.assignment`). It writes `deployment.json` in the run's folder at every
change. SIGTERM, SIGINT or SIGURG: drain, then end; once more: end now (Slurm signals all processes
of a job at once, and SIGURG is one that the others ignore). SIGHUP, which it also gets when the
process `--parent` dies: end without waiting for requests in flight. What else is asked of it while
it runs is `headrace.node.wanted`; how it reports to the head of a fleet, `headrace.node.link`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import secrets
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.files import replace_file
from headrace.gateway.process import gateway_files, gateway_logs
from headrace.node.assignment import Assignment, node_job
from headrace.node.board import Board
from headrace.node.gate import StartGate
from headrace.node.gateway import Gateway
from headrace.node.gpus import watch_gpus
from headrace.node.head import Head
from headrace.node.job import NodeJob
from headrace.node.keeper import PR_SET_PDEATHSIG, prctl, raise_file_limit
from headrace.node.link import Reporter
from headrace.node.obituary import report_failure
from headrace.node.process import Process
from headrace.node.report import NodeReport
from headrace.node.rotation import keep_rotating
from headrace.node.steward import Steward
from headrace.node.wanted import Wanted, read_wanted
from headrace.node.warm import warm

LOADING_GRACE_S = 5.0
"""How long a process without a ready replica, which has no requests, may take to end."""
HURRY_GRACE_S = 2.0
KILL_WAIT_S = 10.0
WISH_PERIOD_S = 0.25
FORGET_MARGIN_S = 0.1
"""Envoy's threads learn of a change a moment after it has read it."""


class Agent:
    """One machine's processes and gateway; with a coordinator, the head of other machines too."""

    def __init__(self, job: NodeJob) -> None:
        self.job = job
        files = gateway_files(job.run_dir) if job.gateway else None
        self.board = Board(job, files.endpoints if files else None)
        self.processes = [Process(spec, self.board, job) for spec in job.processes]
        self.gateway = Gateway(job, files, self.board) if files else None
        self.head = Head(job, self.board) if job.coordinator else None
        self.reporter = Reporter(job.link, job.node) if job.link else None
        self.steward = Steward(job, self.board, self.processes, self._forget)
        self.stopping = asyncio.Event()
        self.hurry = asyncio.Event()
        self._name = secrets.token_hex(8)
        self._child_ended = asyncio.Event()

    async def run(self) -> None:
        """Start everything, watch it until a stop is asked for, and end it all."""
        self._listen()
        if self.reporter:
            self.board.on_publish = self.reporter.wake
        try:
            self.board.publish()
            await self._watch_until_stopped()
        finally:
            await self._end()

    async def _end(self) -> None:
        """Drain, while the coordinator is told how it goes."""
        reporting = asyncio.create_task(self._keep_reporting()) if self.reporter else None
        await self._drain()
        if self.reporter and reporting:
            reporting.cancel()
            with contextlib.suppress(HeadraceError):
                await self.reporter.say(self._report(ended=True))
        if self.head:
            await self.head.close()

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGURG):
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
            watchers = [tasks.create_task(c) for c in self._watchers()]
            await self.stopping.wait()
            for watcher in watchers:
                watcher.cancel()

    def _watchers(self) -> Iterator[Coroutine[None, None, None]]:
        yield self.board.keep_publishing()
        if self.head:
            self.head.open()
            yield self.head.watch()
        if self.gateway:
            self.gateway.start()
            yield self.gateway.watch()
        yield warm(self.job.start.warm)
        gate = StartGate(self.job.start)
        for process in self.processes:
            yield process.run(gate)
            yield from process.health_checks()
        yield self.steward.run()
        if self.reporter:
            yield self.reporter.run(self._report, self._obey)
        else:
            yield self._follow_wishes()
        yield self._notice_deaths()
        if self.processes and self.job.engine == "vllm":
            yield watch_gpus(self.job.node, self.board)
        logs = [process.log for process in self.job.processes]
        yield keep_rotating([*logs, *gateway_logs(self.job.run_dir)], self.job.log_max_bytes)

    async def _follow_wishes(self) -> None:
        """Look at `wanted.json` over and over; what cannot be read is left as it is."""
        while True:
            with contextlib.suppress(ValueError, OSError):
                (self.head or self.steward).want(read_wanted(self.job.run_dir))
            await asyncio.sleep(WISH_PERIOD_S)

    async def _forget(self) -> None:
        """Wait until no gateway sends to replicas that are not ready any more."""
        if self.gateway:
            await self.gateway.caught_up()
        if self.reporter:
            await self.reporter.flush()
        await asyncio.sleep(FORGET_MARGIN_S)

    def _report(self, ended: bool = False) -> NodeReport:
        return NodeReport(
            agent=self._name,
            host=platform.node(),
            pid=os.getpid(),
            replicas=list(self.board.replicas.values()),
            gateway=self.board.gateway,
            gpus=self.board.gpus.get(self.job.node, []),
            serial=self.steward.serial,
            rollout=self.board.rollout,
            ended=ended,
        )

    def _obey(self, wanted: Wanted) -> None:
        self.steward.want(wanted)
        if wanted.stage == "stop":
            self.stopping.set()

    async def _keep_reporting(self) -> None:
        """While draining nobody's answer matters any more."""
        with contextlib.suppress(HeadraceError):
            if self.reporter:
                await self.reporter.run(self._report, lambda _: None)

    async def _notice_deaths(self) -> None:
        """Look at all children as soon as one ends."""
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
            await self.gateway.drain()
        if self.head:
            await self.head.stop_nodes()
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
            async with asyncio.timeout(seconds):
                await self._child_ended.wait()
        self._child_ended.clear()


def die_with(parent: int) -> None:
    """End when the process that started this one ends, however it ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
    if os.getppid() != parent:
        sys.exit("the process that started this agent has ended")


def main() -> None:
    """Read the job, or make it of an assignment, and run it."""
    parser = argparse.ArgumentParser(prog="python -m headrace.node.agent", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("job", type=Path, nargs="?", metavar="JOB", help="a NodeJob, as JSON")
    source.add_argument("--assignment", type=Path, help="an Assignment, as JSON")
    parser.add_argument("--parent", type=int, help="end when this process does")
    options = parser.parse_args()
    if options.parent is not None:
        die_with(options.parent)
    raise_file_limit()
    failed: list[BaseException] = []
    try:
        asyncio.run(Agent(_job(options)).run())
    except* HeadraceError as errors:
        failed += errors.exceptions
    if failed:
        sys.exit(f"error: {failed[0]}")


def _job(options: argparse.Namespace) -> NodeJob:
    if options.assignment is None:
        return NodeJob.model_validate_json(options.job.read_text(encoding="utf-8"))
    text = options.assignment.read_text(encoding="utf-8")
    assignment = Assignment.model_validate_json(text)
    try:
        job = node_job(assignment)
    except HeadraceError as error:
        asyncio.run(report_failure(assignment, str(error)))
        raise
    replace_file(job.run_dir / "job.json", job.model_dump_json(indent=2) + "\n")
    return job


if __name__ == "__main__":
    main()
