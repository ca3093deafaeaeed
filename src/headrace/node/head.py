"""The part of an agent that makes it the head of other machines' agents."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from headrace.files import replace_file
from headrace.node.board import Board
from headrace.node.coordinator import Coordinator, Node
from headrace.node.job import NodeJob
from headrace.node.placer import LOOK_S, Placer
from headrace.node.rollout import FleetRollout
from headrace.node.wanted import Wanted
from headrace.targets.deployment import Replica

STOP_MARGIN_S = 15.0
"""What a node's agent may take to stop beyond the drain time."""
POLL_S = 0.05


class Head:
    """Puts what the nodes report on the board, and tells them what the fleet's owner wants."""

    def __init__(self, job: NodeJob, board: Board) -> None:
        if job.coordinator is None:
            raise ValueError("the job has no coordinator")
        self._job = job
        self._board = board
        self._spec = job.coordinator
        self.wanted = Wanted()
        self.coordinator = Coordinator(self._spec, self.wish_for, self._note)
        self._rollout = FleetRollout(self.coordinator.nodes, time.monotonic)
        self.placer = Placer(self._spec.placer) if self._spec.placer else None
        for node in self.coordinator.nodes.values():
            board.put_node(node.state())

    def open(self) -> None:
        """Take reports from now on, and say where in `coordinator.url`."""
        url = self.coordinator.open()
        replace_file(self._job.run_dir / "coordinator.url", url + "\n")
        if self.placer:
            self.placer.start()

    def want(self, wanted: Wanted) -> None:
        """Hear what is wanted of the whole fleet."""
        if wanted.serial >= self.wanted.serial:
            self.wanted = wanted

    def wish_for(self, name: str) -> Wanted:
        """A node's share of what is wanted of the fleet: the replicas are spread evenly."""
        rollout = self._rollout.for_node(name, self.wanted.rollout)
        wanted = self.wanted.model_copy(update={"rollout": rollout})
        if wanted.replicas is None:
            return wanted
        names = list(self.coordinator.nodes)
        each, more = divmod(wanted.replicas, len(names))
        return wanted.model_copy(update={"replicas": each + (names.index(name) < more)})

    def _note_rollout(self) -> None:
        if self.wanted.rollout is not None:
            self._board.set_rollout(self._rollout.state(self.wanted.rollout))

    async def watch(self) -> None:
        """Notice silent nodes, and those that never came, until cancelled.

        A queue may hold a placed fleet for hours: its time to start begins with the first node.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._job.start_timeout_s
        while True:
            await asyncio.sleep(LOOK_S)
            self.coordinator.notice_silence()
            self._note_rollout()
            if self.placer and self._nobody_came():
                deadline = loop.time() + self._job.start_timeout_s
            if self.placer:
                self._look_at(self.placer)
            if loop.time() > deadline:
                self._fail_absent(f"did not register within {self._job.start_timeout_s:g} s")

    def _nobody_came(self) -> bool:
        return all(node.stage == "expected" for node in self.coordinator.nodes.values())

    def _look_at(self, placer: Placer) -> None:
        """Tell how the placing goes; nobody will come any more when the placer has ended."""
        if placer.look():
            for node in self._absent():
                for name in node.expected.replicas:
                    self._board.update(name, detail=placer.said)
        if placer.has_ended():
            self._fail_absent(f"was not placed: {placer.last_words()}")

    async def stop_nodes(self) -> None:
        """Ask all to drain and end; wait until they have, or have had their time."""
        self.wanted = self.wanted.model_copy(
            update={"stage": "stop", "serial": self.wanted.serial + 1}
        )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._job.drain_timeout_s + STOP_MARGIN_S
        while not self.coordinator.all_gone and loop.time() < deadline:
            self.coordinator.notice_silence()
            await asyncio.sleep(POLL_S)
            self._board.publish()

    async def close(self) -> None:
        """Take no more reports, and take back what was placed. The token is of no use any more."""
        if self.placer:
            await self.placer.stop()
        await self.coordinator.close()
        (self._job.run_dir / "coordinator.url").unlink(missing_ok=True)
        self._spec.token_file.unlink(missing_ok=True)

    def _note(self, node: Node) -> None:
        self._board.put_node(node.state())
        if node.last is None:
            return
        self._board.put_gpus(node.expected.name, node.last.gpus)
        for replica in node.last.replicas:
            seen = self._as_seen_here(replica, node.expected.name)
            self._board.put(_as_gone(seen, node) if node.stage in ("lost", "ended") else seen)
        self._note_rollout()

    def _as_seen_here(self, replica: Replica, node: str) -> Replica:
        """With its log where this machine has it, when that was brought here."""
        changes = {"node": node}
        here = self._job.run_dir / "nodes" / node / "logs" / Path(replica.log or "").name
        if here.is_file():
            changes["log"] = str(here)
        return replica.model_copy(update=changes)

    def _absent(self) -> list[Node]:
        return [node for node in self.coordinator.nodes.values() if node.stage == "expected"]

    def _fail_absent(self, why: str) -> None:
        for node in self._absent():
            for name in node.expected.replicas:
                self._board.update(name, state="failed", detail=f"its node {why}")


def _as_gone(replica: Replica, node: Node) -> Replica:
    """What it was last said to be is not so any more."""
    if replica.state in ("stopped", "failed"):
        return replica
    state = "stopped" if node.stage == "ended" else "failed"
    return replica.model_copy(update={"state": state, "detail": f"its node: {node.detail}"})
