"""Does what is wanted of the replicas of one machine: how many serve, and by which plan."""

from __future__ import annotations

import asyncio
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.node.assignment import engine_processes
from headrace.node.board import Board
from headrace.node.job import NodeJob, ProcessSpec
from headrace.node.process import Forget, Process
from headrace.node.wanted import Rollout, Wanted
from headrace.targets.deployment import RolloutStage, RolloutState


class Steward:
    """Compares what is wanted with what is, and changes one process at a time.

    No replica is started before another has been ended for it: there are no spare GPUs.
    """

    def __init__(
        self, job: NodeJob, board: Board, processes: list[Process], forget: Forget
    ) -> None:
        self.serial = 0
        """Of the last wish that has been fulfilled, or could not be."""
        self._job = job
        self._board = board
        self._processes = processes
        self._forget = forget
        self._current = {process.spec.name: process.spec for process in processes}
        self._generation = 1
        self._refused: set[int] = set()
        self._wish = Wanted()
        self._changed = asyncio.Event()

    def want(self, wish: Wanted) -> None:
        """Hear the present wish; an older one than before is not listened to."""
        if wish.serial > self._wish.serial or wish.rollout != self._wish.rollout:
            self._wish = wish
            self._changed.set()

    async def run(self) -> None:
        """Fulfil one wish after the other, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            wish = self._wish
            await self._scale(wish.replicas)
            await self._roll(wish.rollout)
            self.serial = wish.serial

    async def _scale(self, count: int | None) -> None:
        """The first `count` replicas serve. More are started before fewer are ended."""
        ids = [r.id for process in self._processes for r in process.spec.replicas]
        serving = set(ids if count is None else ids[:count])
        for process in self._processes:
            process.enlist(serving & {r.id for r in process.spec.replicas})
        for process in self._processes:
            surplus = process.enlisted - serving
            if surplus:
                await process.retire(surplus, self._forget)

    async def _roll(self, rollout: Rollout | None) -> None:
        """Go to the wanted plan; back to the first one when none is wanted any more."""
        generation = rollout.generation if rollout else 1
        if generation == self._generation or generation in self._refused:
            return
        try:
            specs = self._specs(rollout)
        except HeadraceError as error:
            self._refused.add(generation)
            self._say(generation, "returned", 0, f"refused: {error}")
            return
        bad = await self._replace_all(specs, generation, "rolling")
        if bad is None:
            self._current, self._generation = specs, generation
            self._say(generation, "done", len(specs))
            return
        self._refused.add(generation)
        await self._replace_all(self._current, self._generation, "returning", bad)
        self._say(generation, "returned", 0, bad)

    async def _replace_all(
        self,
        specs: dict[str, ProcessSpec],
        generation: int,
        stage: RolloutStage,
        why: str | None = None,
    ) -> str | None:
        """One process after the other; stops at the first that is not good and says which."""
        about = max(generation, self._board.rollout.generation if self._board.rollout else 0)
        for done, process in enumerate(self._processes):
            if process.generation != generation and process.enlisted:
                self._say(generation if stage == "rolling" else about, stage, done, why)
                bad = await self._replace(process, specs[process.spec.name], generation)
                if bad is not None and stage == "rolling":
                    return bad
        for process in self._processes:
            if not process.enlisted:
                process.adopt(specs[process.spec.name], generation)
        return None

    async def _replace(self, process: Process, spec: ProcessSpec, generation: int) -> str | None:
        process.held = True
        try:
            return await process.replace(spec, generation, self._forget)
        finally:
            process.held = False

    def _say(
        self, generation: int, state: RolloutStage, done: int, detail: str | None = None
    ) -> None:
        total = len(self._processes)
        self._board.set_rollout(
            RolloutState(generation=generation, state=state, done=done, total=total, detail=detail)
        )

    def _specs(self, rollout: Rollout | None) -> dict[str, ProcessSpec]:
        """The processes by name, as the plan has them: same replicas, same logs, same cores."""
        if rollout is None:
            return {spec.name: spec for spec in self._job.processes}
        folder = self._job.run_dir / "generations" / str(rollout.generation)
        return {
            process.spec.name: _planned(rollout, folder / process.spec.name, process.spec)
            for process in self._processes
        }


def _planned(rollout: Rollout, folder: Path, old: ProcessSpec) -> ProcessSpec:
    (spec,) = engine_processes(rollout.plan, folder, old.replicas, processes=1)
    return spec.model_copy(update={"name": old.name, "log": old.log, "cpus": old.cpus})
