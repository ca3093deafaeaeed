"""Drafting on one H200, as measured: ahead with few requests, no gain when memory is full."""

from typing import Any

import pytest

from headrace.cli.plan import plan_for
from headrace.planner.plan import Choice
from headrace.spec.fleet import Fleet

ARGS: dict[str, Any] = {
    "kv_cache_dtype": "fp8",
    "mamba_ssm_cache_dtype": "bfloat16",
    "max_model_len": 4096,
    "max_num_seqs": 1024,
    "enable_prefix_caching": False,
    "gpu_memory_utilization": 0.93,
    "gdn_prefill_backend": "triton",
}
MTP = {"speculative_config": {"method": "mtp", "num_speculative_tokens": 1}}


def planned(concurrency: int, args: dict[str, Any]) -> Choice:
    fleet = Fleet.model_validate(
        {
            "model": "headrace/Qwen3.5-27B-FP8-rowwise",
            "hardware": {"gpu": "H200"},
            "workload": {"concurrency": concurrency},
            "engine": {
                "version": "0.26.0",
                "planned": False,
                "load_format": "dummy",
                "args": ARGS | args,
            },
        }
    )
    return plan_for(fleet).chosen


def test_drafting_helps_small_batches_and_not_at_saturation() -> None:
    few, few_drafted = planned(8, {}).prediction, planned(8, MTP).prediction
    full, full_drafted = planned(1024, {}).prediction, planned(1024, MTP).prediction
    assert few_drafted.total_tok_s > 1.2 * few.total_tok_s
    assert full_drafted.total_tok_s < 1.05 * full.total_tok_s


def test_running_sequences_and_throughput_as_measured() -> None:
    plain, drafted = planned(1024, {}), planned(1024, MTP)
    assert plain.max_running == pytest.approx(780, rel=0.05)
    assert drafted.max_running == pytest.approx(456, rel=0.05)
    # whole runs, ramp and tail included, which cost the shorter one more (tests/perf/test_gpu_runs)
    assert plain.prediction.total_tok_s == pytest.approx(12_250, rel=0.1)
    assert drafted.prediction.total_tok_s == pytest.approx(11_428, rel=0.15)
