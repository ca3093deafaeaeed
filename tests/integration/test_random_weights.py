"""benchmarks/gpu/weights.py: what it writes is what stock vLLM loads, and results name it."""

import json
import math
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest

from headrace.engines.vllm import process
from headrace.hardware.load import load_gpu
from headrace.models.load import load_model
from headrace.planner.make import make_plan
from headrace.planner.plan import Plan
from headrace.spec.fleet import Fleet
from headrace.spec.load import load_fleet
from headrace.spec.recipes import recipe_path
from tests.integration.fleet_fixtures import run_dir
from tests.integration.test_vllm_engine import Server, replica, serve
from tests.integration.vllm_environment import tiny_model, vllm_executable

pytestmark = [pytest.mark.integration, pytest.mark.vllm]
__all__ = ["run_dir", "tiny_model", "vllm_executable"]

GPU = Path(__file__).parents[2] / "benchmarks" / "gpu"
WRITE_S = 120


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders with a config and no weights that sittings use."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, GPU / "models.py", folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def rowwise(models: Path, tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model's sizes in FP8 with an MTP layer: what vLLM multiplies on any CPU."""
    folder = tmp_path / "tiny-rowwise"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors", ".*"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["mtp_num_hidden_layers"] = 1
    fp8 = json.loads((models / "qwen35-27b-fp8-rowwise" / "config.json").read_text())
    config["quantization_config"] = fp8["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def command(executable: str, folder: Path, *options: str) -> list[str]:
    python = Path(executable).with_name("python")
    return [str(python), str(GPU / "weights.py"), str(folder), *options]


def weights(executable: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    done = command(executable, folder, *options)
    return subprocess.run(done, capture_output=True, text=True, timeout=WRITE_S)


def listed(executable: str, folder: Path) -> dict[str, dict[str, Any]]:
    done = weights(executable, folder, "--list")
    assert done.returncode == 0, done.stderr
    return {tensor["name"]: tensor for tensor in map(json.loads, done.stdout.splitlines())}


def header(file: Path) -> dict[str, Any]:
    """The names, formats, shapes and places that a safetensors file begins with."""
    with file.open("rb") as opened:
        (size,) = struct.unpack("<Q", opened.read(8))
        found: dict[str, Any] = json.loads(opened.read(size))
    return {name: entry for name, entry in found.items() if name != "__metadata__"}


def test_names_and_shapes_are_those_that_transformers_saves(vllm_executable, tiny_model):
    found = listed(vllm_executable, tiny_model)
    saved = header(tiny_model / "model.safetensors")
    assert {name: (t["dtype"], t["shape"]) for name, t in found.items()} == {
        name: (entry["dtype"], entry["shape"]) for name, entry in saved.items()
    }


@pytest.mark.parametrize("name", ["qwen35-27b-fp8", "qwen3-32b-fp8", "qwen3-30b-a3b-fp8"])
def test_all_parameters_of_a_model_are_there(vllm_executable, models, name):
    """Counted apart from the packaged config, and from names that transformers knows."""
    found = listed(vllm_executable, models / name)
    counts = dict.fromkeys(("model", "visual", "mtp"), 0)
    for tensor in found.values():
        if not tensor["name"].endswith(("_scale", "_scale_inv")):
            part = re.match(r"(?:model\.)?(visual|mtp)\.", tensor["name"])
            counts[part[1] if part else "model"] += math.prod(tensor["shape"])
    facts = load_model(str(models / name))
    assert counts["model"] == facts.parameters
    assert counts["visual"] == facts.vision_parameters
    drafting = sum(linear.parameters for linear in facts.mtp_linears)
    assert drafting <= counts["mtp"] <= 1.001 * drafting  # norms are no matrices


def test_vllm_loads_them_all_and_results_name_them(
    vllm_executable: str, rowwise: Path, run_dir: Path
):
    assert weights(vllm_executable, rowwise).returncode == 0
    again = weights(vllm_executable, rowwise)
    assert (again.returncode, "already" in again.stderr) == (0, True)
    other = weights(vllm_executable, rowwise, "--seed", "1")
    assert (other.returncode, "--force" in other.stderr) == (2, True)
    assert_codes_are_spread(rowwise)

    plan = planned(vllm_executable, rowwise)
    assert plan.stand_ins == {"weights": "random, normal, seed 0"}
    (spec,) = process.processes(plan, run_dir, [replica()])
    with serve(spec) as server:
        server.wait_ready()
        surprises = prompt_logprobs(server, plan.model)
    assert all(math.isfinite(each) for each in surprises)
    assert -12 < fmean(surprises) < -6  # of 4,096 tokens, by chance: -8.3
    assert pstdev(surprises) > 0.3


def planned(executable: str, folder: Path) -> Plan:
    """Strict loading: vLLM refuses a parameter that no file has."""
    fleet = load_fleet(recipe_path("tiny-qwen35-cpu"))
    strict = {"model_loader_extra_config": {"enable_weights_track": True}}
    engine = fleet.engine.model_copy(
        update={"executable": executable, "args": {**fleet.engine.args, **strict}}
    )
    changed = fleet.model_copy(update={"engine": engine, "model": str(folder)})
    fleet = Fleet.model_validate(changed.model_dump())
    return make_plan(fleet, load_model(fleet.model), load_gpu("CPU"))


def prompt_logprobs(server: Server, model: str) -> list[float]:
    body = {
        "model": model,
        "prompt": list(range(100, 164)),
        "max_tokens": 1,
        "prompt_logprobs": 0,
    }
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(
        f"{server.url}/v1/completions", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(asked, timeout=300) as answer:
        (choice,) = json.load(answer)["choices"]
    return [each["logprob"] for token in choice["prompt_logprobs"][1:] for each in token.values()]


def assert_codes_are_spread(folder: Path) -> None:
    """Hardly any FP8 code is zero, of 253 finite ones nearly all occur."""
    for codes in fp8_codes(folder):
        zeros = sum(codes.count(code) for code in (b"\x00", b"\x80"))
        assert zeros < 0.01 * len(codes)
        assert len(set(codes)) > 200


def fp8_codes(folder: Path) -> Iterator[bytes]:
    (file,) = folder.glob("*.safetensors")
    content, entries = file.read_bytes(), header(file)
    (size,) = struct.unpack("<Q", content[:8])
    for entry in entries.values():
        if entry["dtype"] == "F8_E4M3":
            begin, end = (8 + size + place for place in entry["data_offsets"])
            yield content[begin:end]


def test_interrupted_it_leaves_nothing(vllm_executable: str, models: Path, tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(models / "qwen35-27b-fp8", folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"num_hidden_layers": 4, "layer_types": ["linear_attention"] * 4}
    config["text_config"] |= {"mtp_num_hidden_layers": 0, "vocab_size": 65536}
    (folder / "config.json").write_text(json.dumps(config))
    before = sorted(folder.iterdir())
    child = subprocess.Popen(
        command(vllm_executable, folder), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + WRITE_S
        while sorted(folder.iterdir()) == before:
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=WRITE_S)
    finally:
        child.kill()
    assert (child.returncode, "nothing was kept" in said) == (130, True)
    assert sorted(folder.iterdir()) == before
