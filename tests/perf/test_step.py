"""Step times against decode steps measured on one H200 (vLLM 0.26.0, Qwen3.5-27B FP8)."""

from dataclasses import replace

import pytest

from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.assemble import step_model
from headrace.perf.config import EngineConfig
from headrace.perf.constants import load_constants
from headrace.perf.step import StepBatch
from tests.perf.test_memory import BF16, BF16_MTP, SEED

CONSTANTS = load_constants()
CUTLASS = replace(SEED, deep_gemm=False)
"""As it was measured: that machine could not compile DeepGEMM."""


@pytest.mark.parametrize(
    ("weights", "config", "running", "step_ms"),
    [
        ("fp8_block", CUTLASS, 128, 44.0),
        ("fp8_block", CUTLASS, 256, 80.4),
        ("fp8_block", replace(BF16_MTP, deep_gemm=False), 457, 123.9),
        ("fp8_channel", BF16_MTP, 456, 113.4),
        ("fp8_channel", replace(BF16, captured=(768, 1024)), 780, 101.3),
    ],
)
def test_decode_steps_as_measured(
    qwen27b: ModelFacts, h200: Gpu, weights: str, config: EngineConfig, running: int, step_ms: float
) -> None:
    facts = replace(qwen27b, weights_dtype=weights)
    model = step_model(facts, h200, config, CONSTANTS)
    assert model.step_s(StepBatch(running, running * 1280)) * 1e3 == pytest.approx(step_ms, rel=0.1)


@pytest.mark.parametrize(("weights", "tok_s"), [("fp8_block", 15_700), ("fp8_channel", 18_300)])
def test_prefill_as_measured(qwen27b: ModelFacts, h200: Gpu, weights: str, tok_s: float) -> None:
    facts = replace(qwen27b, weights_dtype=weights)
    model = step_model(facts, h200, replace(BF16, deep_gemm=False), CONSTANTS)
    seconds = model.step_s(StepBatch(0, 0, 8192, 8, 8192 * 512))
    assert 8192 / seconds == pytest.approx(tok_s, rel=0.1)


def test_parts_sum_to_the_step(qwen27b: ModelFacts, b200: Gpu) -> None:
    model = step_model(qwen27b, b200, SEED, CONSTANTS)
    batch = StepBatch(64, 64 * 1000, 2048, 2, 2048 * 512)
    assert sum(model.parts(batch).values()) == pytest.approx(model.step_s(batch))


def test_more_work_never_takes_less_time(qwen27b: ModelFacts, b200: Gpu) -> None:
    model = step_model(qwen27b, b200, SEED, CONSTANTS)
    for prompt in (0, 512, 4096):
        steps = [model.step_s(StepBatch(n, n * 1024, prompt)) for n in range(1, 512, 37)]
        assert steps == sorted(steps)


def test_weights_are_read_even_for_one_token(qwen27b: ModelFacts, b200: Gpu) -> None:
    model = step_model(qwen27b, b200, replace(SEED, mtp_depth=0), CONSTANTS)
    read_s = 25e9 / b200.bandwidth_bytes_s
    assert model.parts(StepBatch(1, 1))["gemm"] >= read_s


def test_an_moe_reads_more_experts_for_more_tokens(b200: Gpu) -> None:
    from headrace.models.load import load_model

    facts = load_model("Qwen/Qwen3-30B-A3B")
    model = step_model(facts, b200, replace(SEED, mtp_depth=0, kv_dtype="bf16"), CONSTANTS)
    one, many = (model.parts(StepBatch(n, n))["gemm"] for n in (1, 64))
    assert many > 2 * one
