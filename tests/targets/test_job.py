from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from headrace.errors import InputError
from headrace.node.gpus import assign_gpus, visible_gpus
from headrace.node.job import ProcessSpec, ReplicaSpec
from headrace.planner.plan import Choice, Layout, Plan
from headrace.spec.fleet import Fleet
from headrace.targets.local.job import plan_job


def one_process(
    plan: Plan, run_dir: Path, replicas: list[ReplicaSpec], *, per_process: int | None = None
) -> list[ProcessSpec]:
    return [
        ProcessSpec(
            name="all",
            engine=plan.fleet.engine.kind,
            argv=["x"],
            env={},
            log=run_dir / "logs" / "all.log",
            replicas=replicas,
        )
    ]


@pytest.fixture(autouse=True)
def _engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under test is what an engine is given, not what it makes of it."""
    for kind in ("vllm", "simulated"):
        module: Any = ModuleType(f"headrace.engines.{kind}.process")
        module.processes = one_process
        monkeypatch.setitem(sys.modules, module.__name__, module)


def planned(kind: str, nodes: int = 1, gpus: int = 2, policy: str = "least-request") -> Plan:
    """A plan of one GPU per replica; what the target does not look at is left unset."""
    fleet = Fleet.model_validate(
        {
            "model": "Qwen/Qwen3.5-27B-FP8",
            "hardware": {"gpu": "B200", "nodes": nodes, "gpus_per_node": gpus},
            "engine": {"kind": kind},
            "gateway": {"policy": policy},
        }
    )
    layout = Layout(
        tensor_parallel=1,
        replicas=nodes * gpus,
        gpus=nodes * gpus,
        nodes=nodes,
        replicas_per_node=gpus,
    )
    return Plan.model_construct(
        fleet=fleet, gpu="B200", chosen=Choice.model_construct(layout=layout)
    )


def test_each_replica_gets_its_own_gpus():
    assert assign_gpus([0, 1, 2, 3], 2, 2) == [[0, 1], [2, 3]]


def test_gpus_that_run_out_are_counted():
    with pytest.raises(InputError, match="needs 4 GPUs, but only 2"):
        assign_gpus([0, 1], 2, 2)


def test_the_gpus_are_those_that_may_be_seen():
    assert visible_gpus(None, 2) == [0, 1]
    assert visible_gpus("3, 5", 8) == [3, 5]
    assert visible_gpus("", 8) == []


def test_gpus_must_be_numbers():
    with pytest.raises(InputError, match="expected GPU numbers"):
        visible_gpus("GPU-1a2b", 1)


def test_a_simulated_fleet_runs_here_whole(tmp_path: Path):
    plan = planned("simulated", nodes=3)
    job = plan_job(plan, tmp_path)
    replicas = [replica for process in job.processes for replica in process.replicas]
    assert [r.id for r in replicas] == [f"r{n}" for n in range(plan.chosen.layout.replicas)]
    assert len({r.url for r in replicas}) == len(replicas)
    assert all(r.url.startswith("http://127.0.0.1:") for r in replicas)
    assert [r.gpus for r in replicas] == [[0], [1]] * 3
    assert job.gateway is not None
    assert job.gateway.policy == "least-request"


def test_vllm_gets_the_gpus_that_may_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    (process,) = plan_job(planned("vllm"), tmp_path).processes
    assert [replica.gpus for replica in process.replicas] == [[4], [6]]


def test_vllm_runs_on_one_node(tmp_path: Path):
    with pytest.raises(InputError, match="runs vLLM on one node; the fleet has 2"):
        plan_job(planned("vllm", nodes=2), tmp_path)


def test_without_a_gateway_the_replicas_listen_where_clients_connect(tmp_path: Path):
    job = plan_job(planned("simulated", policy="none"), tmp_path, host="127.0.0.2")
    assert job.gateway is None
    assert job.processes[0].replicas[0].url.startswith("http://127.0.0.2:")


def test_a_busy_gateway_port_is_bad_input(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} on 127.0.0.1 is busy"):
            plan_job(planned("simulated"), tmp_path, gateway_port=port)
