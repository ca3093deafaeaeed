from __future__ import annotations

import asyncio
import json
from pathlib import Path

from headrace.node.board import Board
from headrace.node.job import NodeJob, ProcessSpec, ReplicaSpec
from headrace.targets.deployment import Deployment


def job(run_dir: Path) -> NodeJob:
    replicas = [ReplicaSpec(id=f"r{n}", url=f"http://127.0.0.1:{n + 1}", gpus=[n]) for n in (0, 1)]
    process = ProcessSpec(
        name="p", engine="simulated", argv=["x"], env={}, log=run_dir / "p.log", replicas=replicas
    )
    return NodeJob(
        fleet="f",
        run_dir=run_dir,
        node="n",
        processes=[process],
        gateway=None,
        start_timeout_s=1,
        drain_timeout_s=1,
    )


def routed(path: Path) -> list[str]:
    assignment = json.loads(path.read_text())["resources"][0]
    endpoints = assignment["endpoints"][0]["lb_endpoints"]
    return [e["metadata"]["filter_metadata"]["headrace"]["replica"] for e in endpoints]


def test_the_gateway_knows_the_ready_replicas_only(tmp_path: Path):
    endpoints = tmp_path / "replicas.json"
    board = Board(job(tmp_path), endpoints)
    board.publish()
    assert routed(endpoints) == []
    board.update("r1", state="ready")
    board.publish()
    assert routed(endpoints) == ["r1"]
    board.update("r1", state="draining")
    board.publish()
    assert routed(endpoints) == []


def test_endpoints_are_left_alone_when_only_words_change(tmp_path: Path):
    endpoints = tmp_path / "replicas.json"
    board = Board(job(tmp_path), endpoints)
    board.publish()
    before = endpoints.stat().st_ino
    board.update("r0", detail="loading")
    board.publish()
    assert endpoints.stat().st_ino == before
    text = (tmp_path / "deployment.json").read_text()
    assert Deployment.model_validate_json(text).replicas[0].detail == "loading"


def test_changes_are_published_by_themselves(tmp_path: Path):
    async def change() -> None:
        board = Board(job(tmp_path), None)
        publisher = asyncio.create_task(board.keep_publishing())
        board.update("r0", state="ready")
        while not (tmp_path / "deployment.json").exists():
            await asyncio.sleep(0.01)
        publisher.cancel()

    asyncio.run(change())
    found = Deployment.model_validate_json((tmp_path / "deployment.json").read_text())
    assert [replica.state for replica in found.replicas] == ["ready", "starting"]
