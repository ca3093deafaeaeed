"""The agent's gateway: two Envoys that know the ready replicas, and share a port.

The kernel sends every connection to the older one; the other stands by. When one dies the other
has its place at once, and the dead one is started again as the standby.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

from headrace.errors import HeadraceError
from headrace.gateway.config import GatewayConfig
from headrace.gateway.keys import read_keys, write_valid
from headrace.gateway.process import GatewayFiles, check_gateway, write_config
from headrace.gateway.steering import steer_to_oldest
from headrace.node.board import Board
from headrace.node.envoy import Envoy, starts_again_s
from headrace.node.job import NodeJob
from headrace.node.ports import free_port, is_free
from headrace.targets.deployment import GatewayState, StandbyState

STARTING_PERIOD_S = 0.1
PERIOD_S = 1.0
FORGET_TIMEOUT_S = 2.0


class Gateway:
    """Runs Envoys for a job; `ready` once the serving one sends requests to every ready replica."""

    def __init__(self, job: NodeJob, files: GatewayFiles, board: Board) -> None:
        """Raises InputError when the job's gateway cannot be as it is asked for."""
        if job.gateway is None:
            raise ValueError("the job has no gateway")
        check_gateway(job.gateway)
        self._spec = job.gateway
        self._name = job.fleet
        self._replicas = job.replica_count
        self._files = files
        self._board = board
        self._envoys = [Envoy(files.config, own, job.restart, job.health) for own in files.envoys]
        self._listening: list[Envoy] = []
        """The first of them serves: as the kernel orders them, by when they began to listen."""
        self._addresses: list[tuple[str, int]] = []
        self._served = False
        self._wake = asyncio.Event()
        self._keys_seen: tuple[float, int] | None = None
        self._keys_version = 0

    def start(self) -> None:
        """Start one Envoy; the other follows when it listens. The endpoint file must be there."""
        spec = self._spec
        if spec.policy == "none":
            raise HeadraceError("a gateway was asked for, with the policy none")
        port = spec.port or free_port(spec.host)
        metrics_port = spec.metrics_port or free_port(spec.metrics_host, {port})
        self._addresses = [(spec.host, port), (spec.metrics_host, metrics_port)]
        config = GatewayConfig(
            name=self._name,
            spec=spec,
            port=port,
            metrics_port=metrics_port,
            endpoints=self._files.endpoints,
            replicas=self._replicas,
            keys=self._files.keys if spec.keys_file else None,
            access_log=self._files.access_log if spec.access_log_share else None,
            shared=True,
        )
        write_config(self._files, config)
        self._hand_out_keys()
        scheme = "https" if spec.tls else "http"
        guarded = "https" if spec.tls and spec.keys_file else "http"
        self._board.gateway = GatewayState(
            url=f"{scheme}://{_reachable(spec.host)}:{port}",
            metrics_url=f"{guarded}://{_reachable(spec.metrics_host)}:{metrics_port}/metrics",
            state="starting",
            log=str(self._files.envoys[0].log),
        )
        for envoy in self._envoys:
            envoy.due_s = 0.0
        self._start_due()
        self._board.publish()

    async def watch(self) -> None:
        """Keep the board right about the Envoys, and them right about keys and limits.

        One that dies is started again on the same port.
        """
        while True:
            self._wake.clear()
            self.notice_death()
            self._start_due()
            self._hand_out_keys()
            await asyncio.gather(*(self._look_at(envoy) for envoy in self._envoys))
            self._note()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PERIOD_S if self._is_settled() else STARTING_PERIOD_S):
                    await self._wake.wait()

    async def caught_up(self) -> None:
        """Wait until the Envoys have read which replicas are ready: they send to no others then."""
        ready = len(self._board.ids("ready"))
        deadline_s = asyncio.get_running_loop().time() + FORGET_TIMEOUT_S
        await asyncio.gather(*(envoy.knows(ready, deadline_s) for envoy in self._envoys))

    async def drain(self) -> None:
        """Wait until they have read that there are no replicas."""
        self._board.update_gateway(state="draining", detail=None)
        await self.caught_up()

    def notice_death(self) -> None:
        """When one has ended unasked: say why, and start it again while its budget lasts."""
        for envoy in self._envoys:
            why = envoy.notice_death()
            if why is not None:
                self._crashed(envoy, why)

    def is_running(self) -> bool:
        """Whether an Envoy runs."""
        return any(envoy.is_running() for envoy in self._envoys)

    def terminate(self) -> None:
        """End them: Envoy does so at once."""
        for envoy in self._envoys:
            envoy.terminate()

    def mark_stopped(self) -> None:
        """They ended as asked, or had failed before and stay so."""
        for envoy in self._envoys:
            envoy.files.admin.unlink(missing_ok=True)
        self._files.keys.unlink(missing_ok=True)
        if self._board.gateway and self._board.gateway.state != "failed":
            self._board.update_gateway(state="stopped", detail=None, pid=None, standby=None)

    def _start_due(self) -> None:
        """Start those whose time has come. The first must listen before a second may begin.

        Sharing a port lets any process of this user join it, so the first one looks whether
        somebody is there.
        """
        now_s = asyncio.get_running_loop().time()
        for envoy in self._envoys:
            alone = not self._listening
            if envoy.due_s is None or now_s < envoy.due_s or (alone and self.is_running()):
                continue
            busy = [f"{host}:{port}" for host, port in self._addresses if not is_free(host, port)]
            if alone and busy:
                self._crashed(envoy, f"the gateway's address {busy[0]} is busy")
                continue
            envoy.launch()
            if alone:
                self._board.update_gateway(state="starting", restarts=self._restarts())

    def _crashed(self, envoy: Envoy, why: str) -> None:
        """It is started again where the gateway has served, or the other one still may."""
        self._listening = [other for other in self._listening if other is not envoy]
        now_s = asyncio.get_running_loop().time()
        envoy.due_s = None
        if self._served or self._listening:
            envoy.due_s = starts_again_s(envoy, now_s)
            wait_s = max(0.0, (envoy.due_s or now_s) - now_s)
            why += "; given up" if envoy.due_s is None else f"; restart in {wait_s:g} s"
        else:
            for other in self._envoys:
                other.due_s = None
        envoy.trouble = why
        if not self._listening:
            self._board.update_gateway(state="failed", detail=why, pid=None, standby=None)
        self._wake.set()

    async def _look_at(self, envoy: Envoy) -> None:
        await envoy.look()
        each = self._spec.in_flight_per_replica
        if envoy.listens and each:
            await envoy.limit(each * max(1, len(self._board.ids("ready"))))

    def _note(self) -> None:
        """Ready when no replica is starting any more and one Envoy sends to all that are ready."""
        for envoy in self._envoys:
            if envoy.listens and envoy not in self._listening:
                self._joined(envoy)
        if not self._listening or self._board.gateway is None:
            return
        serving = self._listening[0]
        settled = self._served or not self._board.ids("starting")
        complete = self._is_complete(serving) and settled
        self._served = self._served or complete
        known = serving.known
        self._board.update_gateway(
            state="ready" if complete else self._board.gateway.state,
            detail=f"{known.healthy} of {known.total} replicas healthy" if known else None,
            pid=serving.pid,
            log=str(serving.files.log),
            restarts=self._restarts(),
            standby=self._standby(serving),
        )

    def _joined(self, envoy: Envoy) -> None:
        """It listens. Where the kernel cannot steer, it goes on alone."""
        if not self._listening:
            try:
                for host, port in self._addresses:
                    steer_to_oldest(host, port)
            except OSError as error:
                for other in self._envoys:
                    other.due_s = None
                    other.trouble = f"no standby: this kernel cannot steer: {error.strerror}"
        envoy.budget.ready(asyncio.get_running_loop().time())
        self._listening.append(envoy)

    def _is_complete(self, envoy: Envoy) -> bool:
        known, ready = envoy.known, len(self._board.ids("ready"))
        return known is not None and known.healthy == known.total == ready > 0

    def _standby(self, serving: Envoy) -> StandbyState:
        (other,) = (envoy for envoy in self._envoys if envoy is not serving)
        if other in self._listening:
            state = "ready" if self._is_complete(other) else "starting"
            return StandbyState(state=state, pid=other.pid, log=str(other.files.log))
        coming = other.is_running() or other.due_s is not None
        return StandbyState(
            state="starting" if coming else "failed",
            pid=other.pid,
            log=str(other.files.log),
            detail=other.trouble,
        )

    def _is_settled(self) -> bool:
        """Whether there is nothing to wait for."""
        gateway = self._board.gateway
        if gateway is None or gateway.state != "ready":
            return False
        starting = gateway.standby is not None and gateway.standby.state == "starting"
        return not starting and not any(envoy.unanswered for envoy in self._envoys)

    def _restarts(self) -> int:
        return sum(envoy.budget.total for envoy in self._envoys)

    def _hand_out_keys(self) -> None:
        """Tell Envoy which keys are valid now. A file that is wrong now changes nothing."""
        path = self._spec.keys_file
        if path is None:
            return
        now = datetime.now(UTC)
        try:
            keys = [key for key in read_keys(path) if key.is_valid(now)]
            seen = (path.stat().st_mtime, len(keys))
            if seen != self._keys_seen:
                self._keys_version += 1
                write_valid(self._files.keys, keys, self._keys_version)
                self._keys_seen = seen
        except (HeadraceError, OSError) as error:
            self._board.update_gateway(detail=str(error))


def _reachable(host: str) -> str:
    """The address that a client on this machine uses."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
