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


def event(category: str, name: str, at_us: float, took_us: float) -> dict[str, object]:
    return {"ph": "X", "cat": category, "name": name, "ts": at_us, "dur": took_us}


def test_a_profile_is_summed_up_by_kind_of_step_and_kernel(tmp_path: Path):
    kernels = (
        ("void cutlass::device_kernel<cutlass::gemm::kernel>", 20_000),
        ("void cutlass::device_kernel<flash::FlashAttnFwdSm90>", 5_000),
        ("fused_recurrent_gated_delta_rule_fwd_kernel", 9_000),
    )
    events = []
    for step in range(6):
        prompts = int(step % 3 == 2)
        name = f"execute_context_{prompts}({1024 * prompts})_generation_255(255)"
        events.append(event("gpu_user_annotation", name, 50_000 * step, 40_000))
        for place, (kernel, took_us) in enumerate(kernels):
            at_us = 50_000 * step + 12_000 * place
            events.append(event("kernel", kernel, at_us, took_us * (1 + prompts)))
    (tmp_path / "trace.json").write_text(json.dumps({"traceEvents": events}))
    run("kernels.py", tmp_path / "trace.json", "--json", tmp_path / "kernels.json")

    (found,) = json.loads((tmp_path / "kernels.json").read_text()).values()
    assert found["decode"]["steps"] == 4
    assert found["decode"]["by_kind_ms"] == {"attention": 5, "gemm": 20, "state, decode": 9}
    assert found["decode"]["start_to_start_ms"] == 50
    assert found["mixed"]["prompt_tokens"] == 1024
    assert found["mixed"]["busy_ms"] == 68


def test_a_request_is_its_prompt_and_its_share_of_decode_steps(tmp_path: Path):
    decode = {"sequences": 400, "by_kind_ms": {"gemm": 40.0, "state, decode": 20.0}}
    both = {"gemm": 70.0, "state, decode": 23.0, "attention": 2.0}
    profile = {"trace": {"decode": decode, "mixed": {"by_kind_ms": both}}}
    (tmp_path / "kernels.json").write_text(json.dumps(profile))
    fleet = SCRIPTS / "fleets" / "tensor.yaml"
    lines = run("request_time.py", tmp_path / "kernels.json", fleet, "--refill", "3").splitlines()
    found = {line[:36].strip(): line[36:].split() for line in lines}
    assert found["GEMM and LM head"][:3] == ["30.0", "51.2", "81.2"]
    assert found["recurrent state"][:3] == ["1.0", "25.6", "26.6"]
    assert found["attention"][:3] == ["2.0", "0.0", "2.0"]
    assert found["all"][0] == "109.8"
    assert float(found["GEMM and LM head"][3]) == pytest.approx(1536 * 48.6 / 1979, rel=0.1)


def test_a_point_says_how_busy_its_own_gpus_were(tmp_path: Path):
    sitting = tmp_path / "results" / "one"
    write_run(sitting / "published" / "load-a", Story(tpot_s=0.06, in_flight=32, seed=1))
    path = sitting / "published" / "load-a" / "summary.json"
    summary = json.loads(path.read_text())
    summary["environment"]["date"] = "2026-11-30T01:46:01+00:00"
    path.write_text(json.dumps(summary))
    job = {"processes": [{"env": {"CUDA_VISIBLE_DEVICES": gpu}} for gpu in ("1", "2")]}
    (sitting / "published" / "job.json").write_text(json.dumps(job))
    rows = ["index, timestamp, power.draw [W], utilization.gpu [%]"]
    for second in range(60):
        for gpu, busy in enumerate((5, 80, 90 if second < 58 else 0)):
            rows.append(f"{gpu}, 2026/11/30 01:45:{second:02}.500, 600.0, {busy}")
    (sitting / "gpu.csv").write_text("\n".join(rows))
    said = run("comparison.py", sitting, "-o", tmp_path / "comparison.json")
    assert "GPUs busy 80, 90 %" in said
    (point,) = json.loads((tmp_path / "comparison.json").read_text())["points"]
    assert point["gpus_used"]["1"] == {"busy_percent": 80, "power_w": 600}
