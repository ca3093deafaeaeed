"""Options of one small search, laid out by the real planner."""

from __future__ import annotations

from typing import Any

from headrace.cli.plan import plan_for
from headrace.spec.fleet import Fleet
from headrace.tuner.setup import Setup, Wanted, prepare

SETTLED = {
    "attention_backend": "FLASH_ATTN",
    "kv_cache_dtype": "fp8",
    "mamba_ssm_cache_dtype": "bfloat16",
    "max_num_batched_tokens": 4096,
    "max_num_seqs": 8,
}
"""All levers but drafting."""


def fleet(**args: Any) -> Fleet:
    return Fleet.model_validate(
        {
            "model": "Qwen/Qwen3.5-27B-FP8",
            "hardware": {"gpu": "H200"},
            "workload": {"input_tokens": 64, "output_tokens": 16, "concurrency": 8},
            "engine": {"kind": "simulated", "version": "0.26.0", "args": {**SETTLED, **args}},
            "gateway": {"policy": "none"},
        }
    )


def setup(wanted: Wanted | None = None, **args: Any) -> Setup:
    return prepare(fleet(**args), wanted or Wanted({}), plan_for)
