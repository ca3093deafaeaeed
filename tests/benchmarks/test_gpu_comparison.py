"""benchmarks/gpu: raw records in, comparisons and step profiles out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.synthetic import Story, write_run

pytestmark = pytest.mark.compute

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "gpu"


def run(script: str, *arguments: Path | str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_configurations_of_a_sitting_are_compared_with_the_published_one(tmp_path: Path):
    sitting = tmp_path / "results" / "one"
    write_run(sitting / "published" / "load-a", Story(tpot_s=0.06, in_flight=32, seed=1))
    write_run(sitting / "tuned" / "load-a", Story(tpot_s=0.04, in_flight=32, seed=2))
    write_run(sitting / "tuned" / "load-b", Story(tpot_s=0.04, in_flight=32, seed=3))
    write_run(sitting / "tuned" / "load-c", Story(tpot_s=0.04, invalid_reasons=("late",)))
    run("comparison.py", sitting, "-o", tmp_path / "comparison.json")
    found = json.loads((tmp_path / "comparison.json").read_text())

    (row,) = found["comparisons"]
    points = {point["configuration"]: point for point in found["points"]}
    assert row["baseline"]["configuration"] == "published"
    assert row["tuned"]["total_tok_s"] == points["tuned"]["total_tok_s"]
    assert row["ratio"] == pytest.approx(
        points["tuned"]["total_tok_s"] / points["published"]["total_tok_s"]
    )
    assert row["ratio"] > 1.2
    assert points["tuned"]["repetitions"] == 2
    assert points["tuned"]["spread"] is not None
    assert all((tmp_path / record).is_dir() for record in row["records"])
    assert [row["reasons"] for row in found["left_out"]] == [["late"]]


def test_what_does_not_compare_is_a_point_and_no_comparison(tmp_path: Path):
    """Weights of another size, and a load with few requests; tune's baseline is a baseline."""
    sitting = tmp_path / "results" / "one"
    write_run(sitting / "tune" / "trial-00", Story(tpot_s=0.06, in_flight=32))
    write_run(sitting / "tune" / "trial-01", Story(tpot_s=0.05, in_flight=32))
    baseline = {"baseline": {"folder": "trial-00"}}
    (sitting / "tune" / "tune.json").write_text(json.dumps(baseline))
    write_run(sitting / "few" / "load-a", Story(tpot_s=0.02, in_flight=8))
    write_run(sitting / "other" / "load-a", Story(tpot_s=0.04, in_flight=32))
    plan = json.loads((sitting / "other/load-a/plan.json").read_text())
    plan["stand_ins"] = {"weights": "random, normal, seed 0"}
    (sitting / "other/load-a/plan.json").write_text(json.dumps(plan))
    run("comparison.py", sitting, "-o", tmp_path / "comparison.json")
    found = json.loads((tmp_path / "comparison.json").read_text())

    (row,) = found["comparisons"]
    assert (row["baseline"]["configuration"], row["tuned"]["configuration"]) == (
        "published",
        "tune",
    )
    points = [point["configuration"] for point in found["points"]]
    assert points == ["few", "other", "published", "tune"]


def event(category: str, name: str, at_us: float, took_us: float) -> dict[str, object]:
    return {"ph": "X", "cat": category, "name": name, "ts": at_us, "dur": took_us}


def test_a_profile_is_summed_up_by_kind_of_step_and_kernel(tmp_path: Path):
    kernels = (
        ("void cutlass::device_kernel<cutlass::gemm::kernel>", 20_000),
        ("void cutlass::device_kernel<flash::FlashAttnFwdSm90>", 5_000),
        ("fused_recurrent_gated_delta_rule_fwd_kernel", 9_000),
    )
    events = []
    for step in range(9):
        prompts = {2: 1, 5: 1, 7: 2}.get(step, 0)
        name = f"execute_context_{prompts}({1024 * prompts})_generation_255(255)"
        events.append(event("gpu_user_annotation", name, 50_000 * step, 40_000))
        for place, (kernel, took_us) in enumerate(kernels):
            at_us = 50_000 * step + 12_000 * place
            events.append(event("kernel", kernel, at_us, took_us * (1 + prompts)))
    (tmp_path / "trace.json").write_text(json.dumps({"traceEvents": events}))
    run("kernels.py", tmp_path / "trace.json", "--json", tmp_path / "kernels.json")

    (found,) = json.loads((tmp_path / "kernels.json").read_text()).values()
    assert found["decode"]["steps"] == 5
    assert found["decode"]["by_kind_ms"] == {"attention": 5, "gemm": 20, "state, decode": 9}
    assert found["decode"]["start_to_start_ms"] == 50
    assert found["mixed"]["prompt_tokens"] == 1024
    assert found["mixed"]["busy_ms"] == 68
    assert found["mixed 2"]["prompts"] == 2
    assert found["mixed 2"]["busy_ms"] == 102


def test_a_request_is_its_prompt_and_its_share_of_decode_steps(tmp_path: Path):
    decode = {"sequences": 400, "by_kind_ms": {"gemm": 40.0, "state, decode": 20.0}}
    both = {"gemm": 70.0, "state, decode": 23.0, "attention": 2.0}
    steps = {"decode": decode, "mixed": {"prompt_tokens": 1024, "by_kind_ms": both}}
    found = request_time(tmp_path, steps)
    assert found["GEMM and LM head"][:3] == ["30.0", "51.2", "81.2"]
    assert found["recurrent state"][:3] == ["1.0", "25.6", "26.6"]
    assert found["attention"][:3] == ["2.0", "0.0", "2.0"]
    assert found["all"][0] == "109.8"
    assert float(found["GEMM and LM head"][3]) == pytest.approx(1536 * 48.6 / 1979, rel=0.1)

    twice = {"gemm": 90.0, "state, decode": 23.0, "attention": 4.0}
    steps["mixed 2"] = {"prompt_tokens": 2048, "by_kind_ms": twice}
    found = request_time(tmp_path, steps)
    assert found["GEMM and LM head"][0] == "25.0"
    assert found["recurrent state"][0] == "1.0"


def request_time(folder: Path, steps: dict[str, object]) -> dict[str, list[str]]:
    """The rows of its table for three prompts in a step."""
    path = folder / "kernels.json"
    path.write_text(json.dumps({"trace": steps}))
    fleet = SCRIPTS / "fleets" / "tensor.yaml"
    lines = run("request_time.py", path, fleet, "--refill", "3").splitlines()
    return {line[:36].strip(): line[36:].split() for line in lines}


def test_scaling_is_measured_by_one_gpu_of_the_same_sitting_under_the_same_load(tmp_path: Path):
    one = {
        "gpu": "H200",
        "gpus": 1,
        "model": "m",
        "engine": "vllm 0.26.0",
        "workload": {"input_tokens": 1024, "output_tokens": 512},
        "flags": {"max_num_seqs": 512, "profiler_config": {"profiler": "torch"}},
        "concurrency": 256,
        "refill": 3,
        "direct": False,
        "one_server": False,
        "stand_ins": {"weights": "random, near zero"},
        "total_tok_s": 1000.0,
        "records": ["results/a/single/load"],
    }
    again = {**one, "total_tok_s": 980.0, "records": ["results/a/single-again/load"]}
    flags = {"max_num_seqs": 512}
    four = {**one, "gpus": 4, "flags": flags, "concurrency": 1024, "refill": 12, "direct": True}
    four |= {"total_tok_s": 3900.0, "records": ["results/a/replicas-4/load"]}
    two = {**four, "gpus": 2, "concurrency": 512, "refill": 6, "total_tok_s": 1980.0}
    server = {**two, "one_server": True, "direct": False, "total_tok_s": 1881.0}
    others = [
        {**four, "concurrency": 512},
        {**four, "records": ["results/b/replicas-4/load"]},
        {**four, "flags": {"max_num_seqs": 256}},
    ]
    (tmp_path / "comparison.json").write_text(
        json.dumps({"points": [one, again, two, four, server, *others]})
    )
    picture = tmp_path / "scaling.svg"
    said = run("scaling.py", tmp_path / "comparison.json", "-o", picture)
    measured = [line for line in said.splitlines() if "H200" in line]
    assert measured == [
        "| H200, 3 at a time each, no gateway | 2 | 1,980 | 100.0% |",
        "| H200, 3 at a time each, no gateway | 4 | 3,900 | 98.5% |",
        "| H200, 3 at a time each, one data-parallel server | 2 | 1,881 | 95.0% |",
    ]
    assert "| published: B200, nodes of 8 | 96 | 1,103,941 | 96.5% |" in said
    drawn = picture.read_text()
    assert drawn.count("<polyline") == 3
    assert "H200, 3 at a time each, no gateway" in drawn


def test_a_point_says_how_busy_its_own_gpus_were(tmp_path: Path):
    sitting = tmp_path / "results" / "one"
    write_run(sitting / "published" / "load-a", Story(tpot_s=0.06, in_flight=32, seed=1))
    path = sitting / "published" / "load-a" / "summary.json"
    summary = json.loads(path.read_text())
    summary["environment"]["date"] = "2026-11-30T01:46:01+00:00"
    path.write_text(json.dumps(summary))
    job = {"processes": [{"env": {"CUDA_VISIBLE_DEVICES": gpu}} for gpu in ("1", "2")]}
    (sitting / "published" / "job.json").write_text(json.dumps(job))
    rows = ["index, timestamp, power.draw [W], utilization.gpu [%], clocks.current.sm [MHz]"]
    for second in range(60):
        for gpu, busy in enumerate((5, 80, 90 if second < 58 else 0)):
            rows.append(f"{gpu}, 2026/11/30 01:45:{second:02}.500, 600.0, {busy}, 1980")
    (sitting / "gpu.csv").write_text("\n".join(rows))
    said = run("comparison.py", sitting, "-o", tmp_path / "comparison.json")
    assert "GPUs busy 80 % at 1980 MHz and 600 W, 90 % at" in said
    (point,) = json.loads((tmp_path / "comparison.json").read_text())["points"]
    assert point["gpus_used"]["1"] == {
        "busy_percent": 80,
        "power_w": 600,
        "clock_mhz": 1980,
    }
