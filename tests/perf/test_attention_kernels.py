"""The kernels of attention that were measured in engines, and who takes which."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.plan import plan_for
from headrace.hardware.gpu import Gpu
from headrace.hardware.load import load_gpu
from headrace.models.facts import ModelFacts
from headrace.perf.assemble import step_model
from headrace.perf.attention_kernels import attention_backends, attention_kernel
from headrace.perf.config import EngineConfig
from headrace.perf.constants import load_constants
from headrace.perf.step import StepBatch
from headrace.spec.fleet import Fleet
from tests.perf.test_memory import BF16, BF16_MTP

CONSTANTS = load_constants()
RESULTS = Path(__file__).parents[2] / "benchmarks/gpu/results"
BF16_CACHE = replace(BF16, kv_dtype="bf16")


@pytest.mark.parametrize(
    ("backend", "profile", "kernel"),
    [
        ("auto", "2026-11-29-2xh200/tensor-again", "FlashAttnFwdSm90"),
        ("flashinfer", "2026-11-30-2xh200/tensor-xqa", "kernel_mha"),
    ],
)
def test_reading_the_cache_takes_what_it_took_in_a_profiled_engine(
    qwen27b: ModelFacts, h200: Gpu, backend: str, profile: str, kernel: str
) -> None:
    (steps,) = json.loads((RESULTS / profile / "kernels.json").read_bytes()).values()
    (took_ms,) = (
        took for name, took in steps["decode"]["top_kernels_ms"].items() if kernel in name
    )
    facts = replace(qwen27b, weights_dtype="fp8_tensor")
    model = step_model(facts, h200, replace(BF16, attention_backend=backend), CONSTANTS)
    sequences = steps["decode"]["sequences"]
    context = sequences * context_tokens(RESULTS / profile / "profile-1024-512-c256")
    parts = model.parts(StepBatch(sequences, context))
    assert 1e3 * parts["attention"] == pytest.approx(took_ms, rel=0.05)


def context_tokens(load: Path) -> float:
    """Of a sequence in the steps that were profiled, soon after the load began: the engine's
    counters stood still meanwhile."""
    lines = (load / "engine.jsonl").read_text(encoding="utf-8").splitlines()
    readings = [(r["prompt_tokens"], r["generation_tokens"]) for r in map(json.loads, lines)]
    stopped = next(b for a, b in pairwise(readings) if a == b != readings[0])
    prompts, generated = (now - then for now, then in zip(stopped, readings[0], strict=True))
    return 1024 + generated / (prompts / 1024)


@pytest.mark.parametrize(
    ("backend", "kernel"), [("auto", "flash_attn_fp8"), ("flashinfer", "flashinfer_fp8")]
)
def test_a_last_wave_takes_as_long_as_a_full_one(
    qwen27b: ModelFacts, h200: Gpu, backend: str, kernel: str
) -> None:
    """48 long sequences are one wave and a half of FlashAttention 3, which takes them for two."""
    facts = replace(qwen27b, weights_dtype="fp8_tensor")
    model = step_model(facts, h200, replace(BF16, attention_backend=backend), CONSTANTS)
    kernel_time = CONSTANTS.calibration_of("0.26.0", facts, h200).kernel_time
    lines = (RESULTS / "2026-11-30-2xh200/attention.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["kernel"] == kernel]
    assert {row["sequences"] for row in rows} == {48, 64, 256, 512}
    for row in rows:
        batch = StepBatch(row["sequences"], row["sequences"] * row["context_tokens"])
        took_ms = 1e3 * model.parts(batch)["attention"] / kernel_time
        assert took_ms == pytest.approx(row["step_ms"], rel=0.08), row


def test_a_checkpoints_gemms_are_slower_than_those_of_dummy_weights(
    qwen27b: ModelFacts, h200: Gpu
) -> None:
    facts = replace(qwen27b, weights_dtype="fp8_tensor")
    real, dummy = (
        step_model(facts, h200, replace(BF16, dummy_weights=made_up), CONSTANTS)
        for made_up in (False, True)
    )
    batch = StepBatch(256, 256 * 1280)
    slower = real.parts(batch)["gemm"] / dummy.parts(batch)["gemm"]
    assert slower == pytest.approx(CONSTANTS.calibration_of("0.26.0", facts, h200).real_gemm, 0.01)
    assert real.parts(batch)["state"] == dummy.parts(batch)["state"]


@pytest.mark.parametrize(
    ("config", "taken"),
    [
        (replace(BF16, attention_backend="flashinfer"), "flashinfer"),
        (replace(BF16_MTP, attention_backend="flashinfer"), "auto"),
        (replace(BF16, attention_backend="flashinfer", version="0.25.1"), "auto"),
        (replace(BF16, attention_backend="triton_attn"), "auto"),
        (replace(BF16_CACHE, attention_backend="flashinfer"), None),
    ],
)
def test_a_backend_that_was_not_measured_there_is_taken_for_vllms_own(
    qwen27b: ModelFacts, config: EngineConfig, taken: str | None
) -> None:
    kernel = attention_kernel(qwen27b, "H200", config)
    assert (kernel.backend if kernel else None) == taken


def test_other_heads_and_gpus_have_the_tables(qwen27b: ModelFacts) -> None:
    assert attention_backends(qwen27b, "H200", "0.26.0") == ("auto", "flashinfer")
    assert attention_backends(qwen27b, "B200", "0.26.0") == ("auto",)
    narrow = replace(qwen27b, attention=tuple(replace(a, head_dim=128) for a in qwen27b.attention))
    assert attention_backends(narrow, "H200", "0.26.0") == ("auto",)


def test_the_plan_asks_for_the_quicker_kernel_where_it_is_taken() -> None:
    assert planned("H200")["attention_backend"] == "FLASHINFER"
    assert "attention_backend" not in planned("H100")
    assert "attention_backend" not in planned("H200", kv_cache_dtype="bfloat16")
    drafting = {"method": "mtp", "num_speculative_tokens": 1}
    assert "attention_backend" not in planned("H200", speculative_config=drafting)
    own = planned("H200", attention_backend="FLASH_ATTN")
    assert own["attention_backend"] == "FLASH_ATTN"


def test_the_plan_says_what_its_ground_was_measured_with() -> None:
    words = "weights that FP8 rounds to zeros"
    fleet = {"model": "Qwen/Qwen3.5-27B-FP8", "hardware": {"gpu": "H200"}}
    for load_format, said in (("auto", True), ("dummy", False)):
        engine = {"version": "0.26.0", "load_format": load_format}
        reasons = plan_for(Fleet.model_validate({**fleet, "engine": engine})).chosen.why
        assert any(words in reason for reason in reasons) is said
        assert any("compiles its attention with nvcc" in reason for reason in reasons)


def test_flashinfers_kernel_for_prompts_is_taken_unasked_on_hopper(qwen27b: ModelFacts) -> None:
    batch = StepBatch(0, 0, 1024, 1, 1024 * 512)
    for name, quicker in (("H200", True), ("B200", False)):
        own, triton = (
            step_model(qwen27b, load_gpu(name), replace(BF16, gdn_prefill_backend=one), CONSTANTS)
            for one in ("auto", "triton")
        )
        assert (own.parts(batch)["state"] < triton.parts(batch)["state"]) is quicker


def planned(gpu: str, **args: Any) -> dict[str, Any]:
    fleet = Fleet.model_validate(
        {
            "model": "Qwen/Qwen3.5-27B-FP8",
            "hardware": {"gpu": gpu},
            "engine": {"version": "0.26.0", "args": {"max_num_seqs": 256, **args}},
        }
    )
    return dict(plan_for(fleet).chosen.engine_args)
