"""Where a request's GPU time goes, by kind of kernel, beside the least that the data sheet allows.

    python benchmarks/gpu/request_time.py KERNELS.json FLEET.yaml [--refill 3]

KERNELS.json is what `kernels.py` made of a profile: a step that only decodes and ones with prompts.
A request is its prompt, the difference of the two by the number of prompts, and its share of as
many decode steps as it has output tokens. With `--refill` so many prompts share a step, which slows
the states of decoding sequences down once; of the profiled steps the one with nearest as many is
taken. Measured kernels, reckoned to a request; what the host lets the GPU wait for is
left out, so the last line is what a GPU would do that never waits.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from headrace.hardware.gpu import Gpu
from headrace.hardware.load import load_gpu_of
from headrace.models.facts import ModelFacts
from headrace.models.load import load_model
from headrace.spec.fleet import Fleet
from headrace.spec.load import load_fleet

STATE = "state, decode"
GROUPS = {
    "GEMM and LM head": ("gemm", "sampling"),
    "recurrent state": (STATE, "state, prefill"),
    "attention": ("attention",),
    "quantization, element-wise, copies": ("quantization", "element-wise", "copies", "other"),
}


@dataclass(frozen=True)
class Share:
    """Milliseconds of one kind of kernel for one request."""

    prompt_ms: float
    decode_ms: float
    least_ms: float

    @property
    def total_ms(self) -> float:
        """Of the whole request."""
        return self.prompt_ms + self.decode_ms


def shares(profile: dict[str, Any], fleet: Fleet, refill: int) -> dict[str, Share]:
    """Each group's share of a request of the fleet's workload."""
    tokens = fleet.workload.outputs.mean
    decode, (mixed, prompts) = profile["decode"], _with_prompts(profile, fleet, refill)
    least = _least_ms(fleet, decode["sequences"])
    found = {}
    for group, kinds in GROUPS.items():
        prompt_ms = decode_ms = 0.0
        for kind in kinds:
            alone, beside = (step["by_kind_ms"].get(kind, 0.0) for step in (decode, mixed))
            decode_ms += alone / decode["sequences"] * tokens
            prompt_ms += (beside - alone) / (refill if kind == STATE else prompts)
        found[group] = Share(prompt_ms, decode_ms, least.get(group, 0.0))
    return found


def _with_prompts(profile: dict[str, Any], fleet: Fleet, refill: int) -> tuple[dict[str, Any], int]:
    """The profiled step whose number of prompts is nearest, and that number."""
    isl = fleet.workload.inputs.mean
    steps = {
        max(1, round(step["prompt_tokens"] / isl)): step
        for name, step in profile.items()
        if name.startswith("mixed")
    }
    nearest = min(steps, key=lambda prompts: abs(prompts - refill))
    return steps[nearest], nearest


def _least_ms(fleet: Fleet, sequences: float) -> dict[str, float]:
    """Arithmetic at the dense FP8 rate, and each byte of states and cache moved once."""
    facts, gpu, args = load_model(fleet.model), load_gpu_of(fleet.hardware), fleet.engine.args
    isl, osl = fleet.workload.inputs.mean, fleet.workload.outputs.mean
    state_bytes = 2 * facts.state_bytes_per_sequence(args["mamba_ssm_cache_dtype"])
    cache_bytes = facts.kv_bytes_per_token(args["kv_cache_dtype"]) * (isl + osl / 2)
    return {
        "GEMM and LM head": _gemm_s(facts, gpu, isl, osl, sequences) * 1e3,
        "recurrent state": osl * state_bytes / gpu.bandwidth_bytes_s * 1e3,
        "attention": osl * cache_bytes / gpu.bandwidth_bytes_s * 1e3,
    }


def _gemm_s(facts: ModelFacts, gpu: Gpu, isl: float, osl: float, sequences: float) -> float:
    """Weights are read once a step: bound by arithmetic for prompts and for many sequences."""
    flops_s = facts.linear_flops_per_token / gpu.flops["fp8"]
    weights_s = facts.linear_flops_per_token / 2 / gpu.bandwidth_bytes_s
    head_s = 2 * facts.vocab_size * facts.hidden_size / gpu.bandwidth_bytes_s
    return isl * flops_s + osl * (max(flops_s, weights_s / sequences) + head_s / sequences)


def main() -> None:
    """A table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kernels", type=Path)
    parser.add_argument("fleet", type=Path)
    parser.add_argument("--refill", type=int, default=1)
    options = parser.parse_args()
    fleet = load_fleet(options.fleet)
    (profile,) = orjson.loads(options.kernels.read_bytes()).values()
    found = shares(profile, fleet, options.refill)
    print(f"{'milliseconds':36s} {'prompt':>8s} {'decode':>8s} {'both':>8s} {'least':>8s}")
    for name, share in found.items():
        row = (share.prompt_ms, share.decode_ms, share.total_ms, share.least_ms)
        print(f"{name:36s} " + " ".join(f"{value:8.1f}" for value in row))
    tokens = fleet.workload.inputs.mean + fleet.workload.outputs.mean
    spent_ms = sum(share.total_ms for share in found.values())
    least_ms = sum(share.least_ms for share in found.values())
    print(f"{'all':54s} {spent_ms:8.1f} {least_ms:8.1f}")
    rates = f"{tokens / spent_ms * 1e3:8,.0f} {tokens / least_ms * 1e3:8,.0f}"
    print(f"{'total tok/s of a GPU that never waits':54s} {rates}")


if __name__ == "__main__":
    main()
