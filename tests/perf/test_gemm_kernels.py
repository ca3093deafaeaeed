"""GEMM kernels whose time jumps with the tokens, and graphs that pad to where it is low."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.cli.plan import plan_for
from headrace.engines.vllm.args import engine_args
from headrace.hardware.load import load_gpu
from headrace.models.facts import ModelFacts
from headrace.models.load import CATALOG
from headrace.perf.assemble import step_model
from headrace.perf.constants import load_constants
from headrace.perf.gemm_kernels import load_gemm_kernels
from headrace.perf.kernels import TOKENS
from headrace.perf.step import StepBatch
from headrace.spec.fleet import Fleet
from tests.perf.test_memory import BF16

CONSTANTS = load_constants()
ROWWISE = "headrace/Qwen3.5-27B-FP8-rowwise"
PUBLISHED = {
    "kv_cache_dtype": "fp8",
    "max_model_len": 4096,
    "max_num_seqs": 256,
    "max_num_batched_tokens": 8192,
    "speculative_config": {"method": "mtp", "num_speculative_tokens": 1},
    "enable_prefix_caching": False,
    "gpu_memory_utilization": 0.93,
    "language_model_only": True,
    "cudagraph_capture_sizes": [8, 64, 128, 256, 384, 512],
}


def test_a_kernel_gives_what_was_measured_at_its_own_tokens_and_goes_on_beyond() -> None:
    for kernel in load_gemm_kernels().values():
        seconds = kernel.seconds(np.array(TOKENS))
        assert seconds[kernel.grid.index(512.0)] == pytest.approx(
            512 * kernel.ratio[kernel.tokens.index(512.0)]
        )
        assert kernel.grid[-1] == TOKENS[-1]
        assert list(kernel.grid) == sorted(set(kernel.grid))


def test_calibrations_name_kernels_that_exist() -> None:
    named = {calibration.gemm for calibration in CONSTANTS.calibration} - {None}
    named |= {name for one in CONSTANTS.calibration for name in one.gemm_by_backend.values()}
    assert named <= load_gemm_kernels().keys()
    assert named


def test_more_sequences_can_take_less_time_where_a_graph_pads_to_a_whole_tile(
    qwen27b: ModelFacts,
) -> None:
    facts = replace(qwen27b, weights_dtype="fp8_channel")
    bare = step_model(facts, load_gpu("H100"), replace(BF16, captured=(320,)), CONSTANTS)
    tiled = replace(bare, captured=(512.0,))
    batch = StepBatch(320, 320 * 1280)
    assert tiled.parts(batch)["gemm"] < 0.8 * bare.parts(batch)["gemm"]


def test_a_step_outside_of_graphs_pays_for_its_odd_number_of_tokens(qwen27b: ModelFacts) -> None:
    model = step_model(
        qwen27b, load_gpu("H100"), replace(BF16, captured=(64,), deep_gemm=False), CONSTANTS
    )
    padded = replace(model, captured=(1152.0,))
    batch = StepBatch(128, 128 * 1280, 1024, 1, 1024 * 512)
    assert model.unpadded_gemm > 2
    ratio = model.parts(batch)["gemm"] / padded.parts(batch)["gemm"]
    assert ratio == pytest.approx(model.unpadded_gemm)


def test_the_backend_that_is_asked_for_multiplies(qwen27b: ModelFacts) -> None:
    facts = replace(qwen27b, weights_dtype="fp8_tensor")
    times = [
        step_model(facts, load_gpu("H100"), replace(BF16, linear_backend=name), CONSTANTS)
        for name in ("auto", "cutlass", "torch")
    ]
    batch = StepBatch(320, 320 * 1280)
    own, cutlass, torch = (model.parts(batch)["gemm"] for model in times)
    kernels = load_gemm_kernels()
    at = kernels["torch_tensor"].tokens.index(320.0)
    ratio = kernels["torch_tensor"].ratio[at] / kernels["cutlass_channel"].ratio[at]
    assert own == cutlass
    assert torch == pytest.approx(ratio * own, rel=0.1)  # launches are not multiplied


def test_the_plan_takes_cublas_for_one_scale_per_matrix(tmp_path: Path) -> None:
    config = json.loads((CATALOG / "headrace__Qwen3.5-27B-FP8-rowwise.json").read_text())
    group = config["quantization_config"]["config_groups"]["group_0"]
    group["weights"]["strategy"] = group["input_activations"]["strategy"] = "tensor"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert planned("H100", str(tmp_path))["linear_backend"] == "torch"
    assert planned("H100", str(tmp_path), linear_backend="cutlass")["linear_backend"] == "cutlass"
    assert "linear_backend" not in planned("H100")


def planned(gpu: str, model: str = ROWWISE, **args: Any) -> dict[str, Any]:
    fleet = Fleet.model_validate(
        {
            "model": model,
            "hardware": {"gpu": gpu},
            "engine": {"version": "0.26.0", "args": {"max_num_seqs": 256, **args}},
        }
    )
    return plan_for(fleet).chosen.engine_args


def test_the_plan_captures_steps_with_prompts_where_the_kernel_is_known() -> None:
    sizes = planned("H100")["cudagraph_capture_sizes"]
    assert {256, 1280, 2304} <= set(sizes)
    assert "cudagraph_capture_sizes" not in planned("B200")
    assert planned("H100", cudagraph_capture_sizes=[64, 256])["cudagraph_capture_sizes"] == [
        64,
        256,
    ]
    assert "cudagraph_capture_sizes" not in planned("H100", max_cudagraph_capture_size=512)


def test_a_plan_counts_on_deep_gemm_unless_the_file_turns_it_off() -> None:
    rates = []
    for env in ({}, {"VLLM_USE_DEEP_GEMM": "1"}, {"VLLM_USE_DEEP_GEMM": "0"}):
        fleet = Fleet.model_validate(
            {
                "model": "Qwen/Qwen3.5-27B-FP8",
                "hardware": {"gpu": "H100"},
                "workload": {"concurrency": 128, "acceptance": {"mtp": 0.8}},
                "engine": {"version": "0.26.0", "args": PUBLISHED, "planned": False, "env": env},
            }
        )
        rates.append(plan_for(fleet).chosen.prediction.total_tok_s)
    assert rates[0] == rates[1]
    assert rates[2] == pytest.approx(5769, rel=0.05)  # measured without it
    assert rates[0] > 1.3 * rates[2]


def test_sizes_beyond_the_token_budget_are_not_asked_for(qwen27b: ModelFacts) -> None:
    config = replace(BF16, captured=(64, 2048, 4096), max_num_batched_tokens=2048)
    assert engine_args(config, qwen27b)["cudagraph_capture_sizes"] == [64, 2048]
