"""One engine process of a fleet: started, watched, restarted, replaced, ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from urllib.parse import urlsplit

from headrace.node.board import Board
from headrace.node.child import Child
from headrace.node.engines import engine_process
from headrace.node.gate import StartGate
from headrace.node.health import Health
from headrace.node.job import NodeJob, ProcessSpec
from headrace.node.keeper import CANNOT_START
from headrace.node.log import LogFollower, tail
from headrace.node.ports import free_port, is_free
from headrace.node.restarts import CrashBudget
from headrace.targets.deployment import ReplicaState

STARTING_PERIOD_S = 0.2
PERIOD_S = 0.5
SETTLE_S = 1.0
"""How long a replaced process must stay ready before it counts as good."""
REASON_LINES = 200
IN_USE = "address already in use"
"""What a server says that finds its port taken, in any letters."""

Forget = Callable[[], Awaitable[None]]


class Process:
    """Runs a ProcessSpec and keeps the board right about its replicas."""

    def __init__(self, spec: ProcessSpec, board: Board, job: NodeJob) -> None:
        self.spec = spec
        self.generation = 1
        self.enlisted = {replica.id for replica in spec.replicas}
        """The replicas that shall serve."""
        self.held = False
        """Whoever holds it decides about its start and end; it is not restarted by itself."""
        self._board = board
        self._job = job
        self._engine = engine_process(spec.engine)
        self._child: Child | None = None
        self._due_s: float | None = 0.0
        self._served = False
        self._killed = False
        self._death_noted = False
        self._wake = asyncio.Event()
        self._budget = CrashBudget(job.restart)
        self._health = Health(job.health, board, self)

    async def run(self, gate: StartGate) -> None:
        """Start it, and again after a crash while the budget lasts, until cancelled."""
        while True:
            self._wake.clear()
            self.notice_death()
            if self._is_due():
                async with gate.turn():
                    if self._is_due():
                        self.start()
                        await self.load()
            self._note_pid()
            await self._sleep(STARTING_PERIOD_S if self._due_s is not None else PERIOD_S)

    def health_checks(self) -> Iterator[Coroutine[None, None, None]]:
        """One endless check per replica."""
        return (self._health.check(replica.id) for replica in self.spec.replicas)

    def start(self) -> None:
        """Start the program, on other ports where its own have been taken."""
        self._leave_taken_ports()
        self._due_s, self._killed, self._death_noted = None, False, False
        self._health.forget()
        for replica in self.spec.replicas:
            if replica.id in self.enlisted:
                self._board.update(
                    replica.id,
                    state="starting",
                    url=replica.url,
                    detail=None,
                    restarts=self._budget.total,
                    generation=self.generation,
                )
        spec = self.spec
        try:
            self._child = Child(spec.argv, spec.env, spec.log, cpus=spec.cpus)
        except OSError as error:
            self._child = None
            self._failed(f"cannot be started: {error}")
            return
        self._follower = LogFollower(spec.log, self._child.log_start)

    async def load(self) -> None:
        """Follow it until no replica is starting any more; give up on what does not come up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._job.start_timeout_s
        while self.is_running() and (starting := self.in_state("starting")):
            self._note_pid()
            self._note_progress(starting)
            if loop.time() > deadline:
                self._give_up(starting)
            await self._sleep(STARTING_PERIOD_S)
        self._note_pid()
        self.notice_death()

    def became_ready(self) -> None:
        """A replica of it serves."""
        self._served = True
        self._budget.ready(asyncio.get_running_loop().time())

    def notice_death(self) -> None:
        """When it has ended unasked: say why, and when it is started again."""
        code = self._child.exit_code() if self._child else None
        if code is None or self._death_noted:
            return
        self._death_noted = True
        self._wake.set()
        if self.in_state("starting", "ready", "failed"):
            self._failed(self._health.verdict or self._death_reason(code))

    def is_running(self) -> bool:
        """Whether the program or a descendant of it runs."""
        return self._child is not None and self._child.exit_code() is None

    def terminate(self) -> None:
        """Ask it to finish its requests and end."""
        if self._child and self.is_running():
            self._child.terminate()

    def kill(self) -> None:
        """End it now."""
        if self._child and self.is_running():
            self._killed = True
            self._child.kill()

    def mark_stopped_if_ended(self) -> None:
        """Replicas that failed before stay failed: the reason is still wanted."""
        if self.is_running():
            return
        detail = "killed: it did not end in time" if self._killed else None
        for replica in self.in_state("starting", "ready", "draining"):
            self._board.update(replica, state="stopped", detail=detail, pid=None)

    def enlist(self, replicas: Iterable[str]) -> None:
        """Let these replicas serve again."""
        added = set(replicas) - self.enlisted
        self.enlisted |= added
        for replica in added if self.is_running() else []:
            self._board.update(replica, state="starting", detail=None)
        if added and not self.is_running():
            self._due_s = 0.0
            self._budget = CrashBudget(self._job.restart, total=self._budget.total)
        self._wake.set()

    async def retire(self, replicas: Iterable[str], forget: Forget) -> None:
        """Take replicas out of service without failing a request.

        The gateways send them nothing more (`forget` waits for that), then those in flight are
        finished. The program ends with its last replica; until then the others keep it.
        """
        gone = set(replicas) & self.enlisted
        self.enlisted -= gone
        for replica in gone & set(self.in_state("starting", "ready")):
            self._board.update(replica, state="draining", detail=None)
        self._board.publish()
        await forget()
        if not self.enlisted:
            await self.end()
        detail = None if not self.is_running() else "its process serves others"
        for replica in gone:
            self._board.update(replica, state="stopped", detail=detail, pid=None)

    async def end(self) -> None:
        """Ask it to finish what is in flight; kill it when that takes too long."""
        self._due_s, self._death_noted = None, True
        loop = asyncio.get_running_loop()
        for ask, patience_s in ((self.terminate, self._job.drain_timeout_s), (self.kill, 10.0)):
            ask()
            deadline = loop.time() + patience_s
            while self.is_running() and loop.time() < deadline:
                await asyncio.sleep(0.05)

    def adopt(self, spec: ProcessSpec, generation: int) -> None:
        """Run by this at the next start."""
        self.spec, self.generation = spec, generation
        for replica in spec.replicas:
            self._board.update(replica.id, generation=generation)

    async def replace(self, spec: ProcessSpec, generation: int, forget: Forget) -> str | None:
        """Drain it, end it, start another in its place; None when that one serves, or why not."""
        serving = set(self.enlisted)
        await self.retire(serving, forget)
        self.adopt(spec, generation)
        self.enlisted = serving
        self._budget = CrashBudget(self._job.restart, total=self._budget.total)
        self.start()
        await self.load()
        if not self.in_state("failed"):
            await asyncio.sleep(SETTLE_S)
        self.notice_death()
        bad = self.in_state("failed", "starting")
        return None if not bad else f"{bad[0]}: {self._board.replicas[bad[0]].detail}"

    def in_state(self, *states: str) -> list[str]:
        """Its replicas that shall serve, or are on their way out, and are in one of the states."""
        own = (self._board.replicas[spec.id] for spec in self.spec.replicas)
        return [replica.id for replica in own if replica.state in states]

    def _failed(self, detail: str) -> None:
        """It does not run: say why, and when it is started again."""
        if not self.held:
            detail += self._plan_restart(detail)
        goes_on = self._due_s is not None and not self._served
        state: ReplicaState = "starting" if goes_on else "failed"
        for replica in self.in_state("starting", "ready", "failed"):
            self._board.update(replica, state=state, detail=detail, pid=None)

    def _is_due(self) -> bool:
        due = self._due_s is not None and asyncio.get_running_loop().time() >= self._due_s
        return due and not self.held and bool(self.enlisted) and not self.is_running()

    def _plan_restart(self, detail: str) -> str:
        """Set when it is started again; what to say about that.

        Who took its port while it loaded may have left it since.
        """
        taken = IN_USE in detail.lower()
        taken = taken or any(not is_free(*_address(r.url)) for r in self.spec.replicas)
        if not self._served and not taken:
            return ""
        now_s, most = asyncio.get_running_loop().time(), self._job.restart.crashes
        delay_s = self._budget.crashed(now_s)
        if delay_s is None:
            return f"; given up after {most} restarts in a row"
        self._due_s = now_s + delay_s
        return f"; restart {self._budget.crashes} of {most} in {delay_s:g} s"

    def _leave_taken_ports(self) -> None:
        used = {urlsplit(r.url).port or 0 for r in self._board.replicas.values()}
        moved = []
        for replica in self.spec.replicas:
            host, port = _address(replica.url)
            if not is_free(host, port):
                port = free_port(host, used)
                used.add(port)
            moved.append(replica.model_copy(update={"url": f"http://{host}:{port}"}))
        if moved != self.spec.replicas:
            self.spec = self._engine.moved(self.spec, moved)

    def _note_pid(self) -> None:
        pid = self._child.pid if self._child else None
        for replica in self.in_state("starting", "ready") if self.is_running() else []:
            self._board.update(replica, pid=pid)

    def _note_progress(self, starting: list[str]) -> None:
        phases = [
            found for line in self._follower.new_lines() if (found := self._engine.phase(line))
        ]
        for replica in starting if phases else []:
            self._board.update(replica, detail=phases[-1])

    def _give_up(self, starting: list[str]) -> None:
        for replica in starting:
            last = self._board.replicas[replica].detail
            doing = f"; it was {last!r}" if last else ""
            detail = f"not ready after {self._job.start_timeout_s:g} s{doing}"
            self._board.update(replica, state="failed", detail=detail)
        if not self.in_state("ready"):
            self._death_noted = True
            self.kill()

    def _death_reason(self, code: int) -> str:
        """The keeper says why a program could not be started; all else is the engine's to read."""
        log_tail = self._log_tail()
        last = log_tail.rpartition("\n")[2]
        if code == CANNOT_START and last.startswith("cannot start "):
            return last
        return self._engine.death_reason(code, log_tail)

    def _log_tail(self) -> str:
        start = self._child.log_start if self._child else 0
        return "\n".join(tail(self.spec.log, REASON_LINES, start))

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the next thing to do."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80
