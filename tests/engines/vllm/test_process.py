from pathlib import Path

import pytest

from headrace.engines.vllm import process
from headrace.errors import InputError
from headrace.hardware.load import load_gpu
from headrace.models.load import CATALOG, load_model
from headrace.node.job import ReplicaSpec
from headrace.planner.make import make_plan
from headrace.spec.fleet import Fleet
from tests.engines.vllm.programs import install_vllm

MODEL = "Qwen/Qwen3.5-27B-FP8"


def plan(executable: Path, model: str = MODEL, gpu: str = "H200", **engine):
    """With most of its settings given, so that little is searched."""
    engine = {"args": {"tensor_parallel_size": 1, "max_num_seqs": 64}, **engine}
    fleet = Fleet.model_validate(
        {
            "model": model,
            "hardware": {"gpu": gpu, "gpus_per_node": 2},
            "engine": {"version": "0.33.0", "executable": str(executable), **engine},
        }
    )
    return make_plan(fleet, load_model(model), load_gpu(gpu))


def replica(number: int = 0) -> ReplicaSpec:
    return ReplicaSpec(id=f"r{number}", url=f"http://127.0.0.1:810{number}", gpus=[number])


def test_a_process_per_replica(tmp_path):
    program = install_vllm(tmp_path, "0.33.0")
    planned = plan(program, env={"NCCL_DEBUG": "INFO"})

    first, second = process.processes(planned, tmp_path, [replica(0), replica(1)])

    assert (first.name, first.engine, first.log) == ("r0", "vllm", tmp_path / "logs" / "r0.log")
    assert second.replicas == [replica(1)]
    assert (first.env["CUDA_VISIBLE_DEVICES"], second.env["CUDA_VISIBLE_DEVICES"]) == ("0", "1")
    assert first.env["VLLM_NO_USAGE_STATS"] == "1"
    assert first.env["NCCL_DEBUG"] == "INFO"
    assert "HF_HUB_OFFLINE" not in first.env
    start = [str(program), "serve", MODEL, "--host", "127.0.0.1", "--port", "8101"]
    assert second.argv[:9] == [*start, "--served-model-name", MODEL]
    assert "--no-enable-prefix-caching" in first.argv
    assert first.argv.count("--shutdown-timeout") == 1


def test_a_fleet_that_is_not_planned_still_drains(tmp_path):
    program = install_vllm(tmp_path, "0.33.0")
    planned = plan(program, planned=False, args={"shutdown_timeout": 5, "max_model_len": 4096})
    (spec,) = process.processes(planned, tmp_path, [replica()])
    assert spec.argv[spec.argv.index("--shutdown-timeout") + 1] == "5"
    assert "--max-num-seqs" not in spec.argv


def test_a_model_in_a_folder_is_served_from_there_without_the_hub(tmp_path, monkeypatch):
    folder = tmp_path / "my-model"
    folder.mkdir()
    text = (CATALOG / "Qwen__Qwen3.5-27B-FP8.json").read_text()
    (folder / "config.json").write_text(text)
    monkeypatch.chdir(tmp_path)
    planned = plan(install_vllm(tmp_path, "0.33.0"), model="./my-model")
    (spec,) = process.processes(planned, tmp_path, [replica()])
    assert spec.argv[2] == str(folder)
    assert spec.argv[spec.argv.index("--served-model-name") + 1] == planned.model == "my-model"
    assert spec.env["HF_HUB_OFFLINE"] == "1"
    assert process.model_path("./my-model/config.json") == str(folder)


def test_on_a_cpu_replicas_share_the_cores(tmp_path):
    program = install_vllm(tmp_path, "0.33.0")
    planned = plan(program, model="Qwen/Qwen3-0.6B", gpu="CPU")
    (alone,) = process.processes(planned, tmp_path, [replica()])
    assert alone.env["CUDA_VISIBLE_DEVICES"] == ""
    assert alone.env["VLLM_CPU_OMP_THREADS_BIND"] == "auto"
    room_bytes = int(alone.env["VLLM_CPU_KVCACHE_SPACE"]) * 2**30
    memory = planned.chosen.memory_bytes
    assert planned.chosen.max_running * 1536 * memory.kv_per_token <= room_bytes
    assert room_bytes <= memory.free + 2**30


@pytest.mark.parametrize(
    ("cores", "replicas", "shares"),
    [
        ([0, 1], 1, ["auto"]),
        ([0, 1, 2, 3, 4], 2, ["0,1", "2,3"]),
        ([4, 6], 2, ["4", "6"]),
        ([0], 2, ["nobind", "nobind"]),
    ],
)
def test_shares_of_cores(cores, replicas, shares):
    assert process._cpu_shares(cores, replicas) == shares


def test_another_version_than_planned_is_refused_before_anything_starts(tmp_path):
    planned = plan(install_vllm(tmp_path, "0.32.0"))
    with pytest.raises(InputError, match=r"is vLLM 0\.32\.0"):
        process.processes(planned, tmp_path, [replica()])
