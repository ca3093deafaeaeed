"""The cache layout against what vLLM 0.26.0 reported on one H200 for Qwen3.5-27B-FP8."""

from dataclasses import replace

import pytest

from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.config import EngineConfig
from headrace.perf.constants import load_constants
from headrace.perf.memory import MemoryPlan, plan_memory

MEMORY = load_constants().memory
SEED = EngineConfig(
    version="0.26.0",
    tensor_parallel=1,
    kv_dtype="fp8",
    state_dtype="float32",
    mtp_depth=1,
    max_num_seqs=256,
    gdn_prefill_backend="triton",
    max_num_batched_tokens=8192,
    max_model_len=4096,
    gpu_memory_utilization=0.93,
    dummy_weights=True,
)
BF16_MTP = replace(SEED, state_dtype="bfloat16", max_num_seqs=512)
BF16 = replace(BF16_MTP, mtp_depth=0, max_num_seqs=1024)
"""As measured, less its CUDA graphs: of sizes, 768 and 1,024 are known to have been captured."""


def reported_tokens(memory: MemoryPlan, max_model_len: int) -> float:
    """vLLM's "GPU KV cache size": requests of full length that fit, times that length."""
    return memory.cache.pages / memory.cache.pages_for(max_model_len) * max_model_len


@pytest.mark.parametrize(
    ("config", "page_tokens", "tokens"),
    [(SEED, 1568, 872_448), (BF16_MTP, 800, 1_250_645), (BF16, 800, 1_776_298)],
)
def test_capacity_as_vllm_reports_it(
    qwen27b: ModelFacts, h200: Gpu, config: EngineConfig, page_tokens: int, tokens: int
) -> None:
    memory = plan_memory(qwen27b, h200, config, MEMORY)
    assert memory.cache.page_tokens == page_tokens
    assert reported_tokens(memory, 4096) == pytest.approx(tokens, rel=0.05)


@pytest.mark.parametrize(("config", "running"), [(BF16_MTP, 457), (BF16, 780)])
def test_running_sequences_as_measured(
    qwen27b: ModelFacts, h200: Gpu, config: EngineConfig, running: int
) -> None:
    memory = plan_memory(qwen27b, h200, config, MEMORY)
    assert memory.sequences(1536) == pytest.approx(running, rel=0.05)


def test_weights_of_the_fp8_checkpoint(qwen27b: ModelFacts, h200: Gpu) -> None:
    memory = plan_memory(qwen27b, h200, BF16, MEMORY)
    assert memory.weights_bytes / 2**30 == pytest.approx(28, rel=0.05)


def test_drafting_keeps_more_state(qwen27b: ModelFacts, h200: Gpu) -> None:
    without = plan_memory(qwen27b, h200, BF16, MEMORY)
    with_mtp = plan_memory(qwen27b, h200, replace(BF16, mtp_depth=1), MEMORY)
    assert with_mtp.state_bytes_per_sequence == 2 * without.state_bytes_per_sequence
    assert with_mtp.sequences(1536) < without.sequences(1536)


def test_a_model_too_large_leaves_no_pages(qwen27b: ModelFacts, h200: Gpu) -> None:
    small = replace(h200, memory_bytes=24e9)
    memory = plan_memory(qwen27b, small, SEED, MEMORY)
    assert memory.free_bytes < 0
    assert memory.sequences(1536) == 0


def test_tensor_parallel_splits_weights_and_states(qwen27b: ModelFacts, h200: Gpu) -> None:
    one = plan_memory(qwen27b, h200, SEED, MEMORY)
    four = plan_memory(qwen27b, h200, replace(SEED, tensor_parallel=4), MEMORY)
    assert four.weights_bytes == pytest.approx(one.weights_bytes / 4)
    assert four.state_bytes_per_sequence == pytest.approx(one.state_bytes_per_sequence / 4)
