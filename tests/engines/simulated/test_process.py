"""What a target is told about the simulated engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.engines.simulated.job import load_job
from headrace.engines.simulated.process import death_reason, phase, processes
from headrace.errors import InputError
from headrace.node.job import ReplicaSpec
from headrace.planner.plan import Plan
from headrace.spec.fleet import Fleet
from tests.engines.simulated.serving import replica_model

MODEL = "Qwen/Qwen3.5-27B-FP8"


def plan() -> Plan:
    """Only what the engine reads of it."""
    fleet = Fleet.model_validate({"model": MODEL, "hardware": {"gpu": "B200"}})
    simulation = replica_model(step_s=0.03).to_json()
    return Plan.model_construct(fleet=fleet, model=MODEL, gpu="B200", simulation=simulation)


def replicas(count: int) -> list[ReplicaSpec]:
    return [
        ReplicaSpec(id=f"r{n}", url=f"http://127.0.0.1:{20_000 + n}", gpus=[n])
        for n in range(count)
    ]


def test_one_process_serves_a_node_and_its_job_says_all(tmp_path: Path) -> None:
    (spec,) = processes(plan(), tmp_path / "run", replicas(8), python="/usr/bin/python3")
    assert spec.engine == "simulated"
    assert spec.argv[:4] == ["/usr/bin/python3", "-m", "headrace.engines.simulated", "--job"]
    assert spec.log == tmp_path / "run" / "logs" / "simulated.log"
    assert spec.replicas == replicas(8)
    job = load_job(Path(spec.argv[4]))
    assert (job.model, job.gpu, job.host) == (MODEL, "B200", "127.0.0.1")
    assert job.ports == list(range(20_000, 20_008))
    assert job.replica_model() == replica_model(step_s=0.03)
    assert job.max_model_len == 4096
    assert job.vocab_size == 248_320


def test_large_fleets_are_split_and_no_two_replicas_draw_alike(tmp_path: Path) -> None:
    specs = processes(plan(), tmp_path, replicas(150))
    assert [len(spec.replicas) for spec in specs] == [64, 64, 22]
    assert len({spec.name for spec in specs}) == len({spec.log for spec in specs}) == 3
    assert [load_job(Path(spec.argv[4])).seed for spec in specs] == [0, 1, 2]
    assert [r for spec in specs for r in spec.replicas] == replicas(150)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("INFO 11-24 02:56:42 simulated engine: loading m", "simulated: loading m"),
        ("error: cannot listen", None),
        ("", None),
    ],
)
def test_phases_are_read_from_the_log(line: str, expected: str | None) -> None:
    assert phase(line) == expected


@pytest.mark.parametrize(
    ("code", "log", "says"),
    [
        (1, "INFO x\nerror: cannot listen on h:1: busy\nnext: stop it", "cannot listen on h:1"),
        (-9, "INFO x", "SIGKILL"),
        (-250, "", "signal 250"),
        (0, "INFO stopped", "told to stop"),
        (1, "Traceback\nValueError: odd\n", "exit status 1: ValueError: odd"),
        (None, "", "exit status None"),
    ],
)
def test_deaths_are_explained(code: int | None, log: str, says: str) -> None:
    assert says in death_reason(code, log)


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "Invalid JSON"), ('{"model": "m", "ports": [0]}', "ports.0"), ("{}", "model")],
)
def test_broken_jobs_are_input_errors(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "job.json"
    file.write_text(text)
    with pytest.raises(InputError, match=says):
        load_job(file)


def test_a_job_whose_replica_lacks_numbers_is_an_input_error(tmp_path: Path) -> None:
    processes(plan(), tmp_path, replicas(1))
    job = load_job(tmp_path / "simulated.json")
    with pytest.raises(InputError, match="replica model"):
        job.model_copy(update={"replica": {"step": {}, "scheduler": {"cache": {}}}}).replica_model()
    with pytest.raises(InputError, match="cannot read"):
        load_job(tmp_path / "none.json")
