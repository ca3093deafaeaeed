"""Whole runs on real GPUs, against the model: what `docs/accuracy.md` says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from runpy import run_path

import pytest

from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.assemble import step_model
from headrace.perf.config import EngineConfig
from headrace.perf.constants import load_constants
from headrace.perf.memory import plan_memory
from headrace.scheduler.scheduler import Scheduler
from headrace.scheduler.sequence import Sequence
from headrace.scheduler.spec import SchedulerSpec
from tests.perf.test_memory import BF16, BF16_MTP, SEED

CONSTANTS = load_constants()
SCRIPT = Path(__file__).parents[2] / "scripts/fit_gpu_runs.py"
CAPTURED = replace(BF16, captured=(8, 64, 256, 512, 768, 1024))


@pytest.mark.compute
@pytest.mark.parametrize(
    ("weights", "config", "requests", "seconds"),
    [
        ("fp8_block", replace(SEED, deep_gemm=False), 640, 107.2),
        ("fp8_channel", BF16_MTP, 600, 80.6),
        ("fp8_channel", CAPTURED, 900, 112.8),
    ],
)
def test_offline_runs_on_an_h200_ramp_and_tail_included(
    qwen27b: ModelFacts,
    h200: Gpu,
    weights: str,
    config: EngineConfig,
    requests: int,
    seconds: float,
) -> None:
    """All requests at once, 1,024 tokens in and 512 out, as `LLM.generate` takes them."""
    facts = replace(qwen27b, weights_dtype=weights)
    model = step_model(facts, h200, config, CONSTANTS)
    spec = SchedulerSpec(
        max_num_seqs=config.max_num_seqs,
        max_num_batched_tokens=config.max_num_batched_tokens,
        max_model_len=config.max_model_len,
        cache=plan_memory(facts, h200, config, CONSTANTS.memory).cache,
        mtp_depth=config.mtp_depth,
        acceptance=0.8,
    )
    scheduler, clock_s = Scheduler(spec), 0.0
    for _ in range(requests):
        scheduler.add(Sequence(1024, 512, None))
    while step := scheduler.schedule():
        clock_s += step.length_s(model)
        scheduler.finish(step)
    assert clock_s == pytest.approx(seconds, rel=0.10)


@pytest.mark.compute
def test_served_loads_on_h100_each_by_constants_fitted_without_it() -> None:
    """Every valid load under benchmarks/gpu/results, row-wise and block-wise FP8."""
    script = run_path(str(SCRIPT))
    errors, fitted, with_values = script["errors"], script["fitted"], script["with_values"]
    cases = script["measured_cases"](CONSTANTS)
    assert len(cases) >= 50
    values = fitted(cases, CONSTANTS, script["START"])
    for index, case in enumerate(cases):
        rest = cases[:index] + cases[index + 1 :]
        without = with_values(CONSTANTS, fitted(rest, CONSTANTS, values))
        assert abs(errors([case], without)).max() < 0.10, case.id
        if case.refill.size > 1:
            assert abs(script["ttft_error"](case, CONSTANTS)) < 0.12, case.id
    packaged = errors(cases, CONSTANTS)
    assert packaged == pytest.approx(errors(cases, with_values(CONSTANTS, values)), abs=0.002)


def test_served_loads_of_a_dense_model_and_a_mixture_of_experts() -> None:
    script = run_path(str(SCRIPT))
    cases = script["unfitted_cases"](CONSTANTS)
    assert len(cases) == 2
    assert abs(script["errors"](cases, CONSTANTS)).max() < 0.10
