"""Which steps vLLM's CUDA graphs cover, and what it costs where they do not."""

from dataclasses import replace

import pytest

from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.assemble import step_model
from headrace.perf.config import EngineConfig
from headrace.perf.constants import load_constants
from headrace.perf.graphs import captured_tokens, covering
from headrace.perf.step import StepBatch, StepModel, padded
from tests.perf.test_memory import BF16

CONSTANTS = load_constants()


def batch(prompt_tokens: float, decoding: int = 64) -> StepBatch:
    prompts = prompt_tokens / 1024
    return StepBatch(decoding, decoding * 1000, prompt_tokens, prompts, prompt_tokens * 512)


@pytest.mark.parametrize(
    ("changes", "first", "last", "count"),
    [
        ({"max_num_seqs": 256}, 1, 512, 51),
        ({"max_num_seqs": 20}, 1, 40, 8),
        ({"max_num_seqs": 8, "mtp_depth": 1}, 1, 32, 7),
        ({"max_num_seqs": 780}, 1, 512, 51),
        ({"max_num_seqs": 780, "cover_decode": True}, 1, 784, 68),
        ({"max_num_seqs": 780, "max_captured": 1024}, 1, 1024, 83),
        ({"max_num_seqs": 256, "max_num_batched_tokens": 300}, 1, 288, 37),
        ({"captured": (320, 8, 64, 4096, 9000)}, 8, 4096, 4),
    ],
)
def test_the_sizes_are_vllms_own(
    changes: dict[str, int], first: int, last: int, count: int
) -> None:
    sizes = captured_tokens(replace(BF16, **changes))
    assert (sizes[0], sizes[-1], len(sizes)) == (first, last, count)
    assert list(sizes) == sorted(sizes)


def test_nothing_is_captured_where_graphs_are_off() -> None:
    assert captured_tokens(replace(BF16, enforce_eager=True)) == ()


@pytest.mark.parametrize(
    ("seqs", "depth", "batched", "largest"),
    [(512, 0, 8192, None), (780, 0, 8192, 784), (500, 2, 8192, 1536), (780, 0, 780, 768)],
)
def test_the_fullest_decode_step_is_covered(
    seqs: int, depth: int, batched: int, largest: int | None
) -> None:
    assert covering(seqs, depth, batched) == largest


def test_a_step_is_padded_to_the_next_size() -> None:
    assert [padded((8.0, 64.0), n) for n in (1, 8, 9, 64, 65)] == [8, 8, 64, 64, 65]
    assert padded((), 9) == 9


@pytest.fixture
def model(qwen27b: ModelFacts, h200: Gpu) -> StepModel:
    return step_model(qwen27b, h200, BF16, CONSTANTS)


def test_a_padded_step_takes_as_long_as_a_full_one(model: StepModel) -> None:
    few = replace(model, captured=(64.0, 1024.0))
    assert few.parts(batch(0, 65))["gemm"] == few.parts(batch(0, 1024))["gemm"]
    assert few.parts(batch(0, 64))["gemm"] < few.parts(batch(0, 65))["gemm"]


def test_launches_hide_behind_long_kernels_and_not_behind_short_ones(model: StepModel) -> None:
    """A short uncovered step takes as long as its launches do, a long one as its kernels."""
    slow = replace(model, launch_s=0.1, piecewise_s=0.0, captured=(512.0,), host_s=0.0, mixed_s=0.0)
    small, large = slow.parts(batch(600)), slow.parts(batch(8192))
    host_s = slow.host_s_per_sequence * 64
    assert sum(small.values()) == pytest.approx(0.1 + host_s)
    assert large["launch"] == 0.0
    assert slow.parts(batch(400))["launch"] == 0.0


def test_between_the_pieces_of_graphs_the_host_launches_what_prompts_need(model: StepModel) -> None:
    """A covered step with a prompt takes what takes longer: its kernels, or the host."""
    sizes = (64.0, 2048.0, 16384.0)
    slow = replace(model, piecewise_s=0.5, captured=sizes, host_s=0.0, mixed_s=0.0)
    assert slow.step_s(batch(1024)) == pytest.approx(0.5, rel=0.06)
    assert slow.parts(batch(0))["launch"] == slow.parts(batch(16000))["launch"] == 0.0


def test_a_slower_host_launches_more_slowly_and_multiplies_as_fast(
    qwen27b: ModelFacts, h200: Gpu
) -> None:
    quick, slow = (
        step_model(qwen27b, replace(h200, host_time=time), BF16, CONSTANTS) for time in (1.0, 1.5)
    )
    small = step_model(replace(qwen27b, layers=32), h200, BF16, CONSTANTS)
    assert small.piecewise_s == quick.piecewise_s / 2
    assert small.host_s == quick.host_s
    assert slow.gemm_s == quick.gemm_s
    assert slow.state_s_per_sequence == quick.state_s_per_sequence
    for name in ("host_s", "launch_s", "piecewise_s"):
        assert getattr(quick, name) > 0
        assert getattr(slow, name) == pytest.approx(1.5 * getattr(quick, name))


def test_16_bit_states_take_longer_beside_prompts_unless_tokens_are_drafted(
    qwen27b: ModelFacts, h200: Gpu
) -> None:
    for changes, longer in (
        ({}, True),
        ({"state_dtype": "float32"}, False),
        ({"mtp_depth": 1}, False),
    ):
        model = step_model(qwen27b, h200, config(**changes), CONSTANTS)
        alone = model.parts(batch(0))["state"]
        beside = model.parts(batch(1024))["state"] - 1024 * model.prefill_state_s_per_token
        assert (beside > 1.2 * alone) == longer


def config(**changes: object) -> EngineConfig:
    return replace(BF16, **changes)  # type: ignore[arg-type]


def test_without_graphs_every_step_is_launched(qwen27b: ModelFacts, h200: Gpu) -> None:
    eager = step_model(qwen27b, h200, config(enforce_eager=True), CONSTANTS)
    usual = step_model(qwen27b, h200, config(), CONSTANTS)
    assert eager.step_s(batch(0, 8)) > usual.step_s(batch(0, 8))
