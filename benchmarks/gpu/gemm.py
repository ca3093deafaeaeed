"""How quick the FP8 matrix multiplications of Qwen3.5-27B are, by kernel and by tokens in a step.

    python benchmarks/gpu/gemm.py OUT.jsonl         # needs a GPU and vLLM; under two minutes
    python benchmarks/gpu/gemm.py OUT.jsonl --kernel deep_gemm_block   # and nvcc; slower

Which kernel an engine takes follows from the checkpoint's scales and from --linear-backend:

    cutlass_channel   scales per token and per channel: CutlassFP8ScaledMMLinearKernel
    torch_channel     the same checkpoint with `torch`: cuBLAS to fp32, then scaled
    torch_tensor      one scale each, `torch`: PerTensorTorchFP8ScaledMMLinearKernel, cuBLAS
    cutlass_block     blocks of 128: CutlassFp8BlockScaledMMKernel
    deep_gemm_block   the same where DeepGEMM can compile: DeepGemmFp8BlockScaledMMKernel

Every line is one shape (N outputs, K inputs) at M tokens: microseconds, median of repetitions in a
CUDA graph over weights that together do not fit the cache.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from vllm import _custom_ops as ops
from vllm.utils.deep_gemm import fp8_gemm_nt, get_col_major_tma_aligned_tensor

SHAPES = {
    "gate_up": (34816, 5120, 64),
    "down": (5120, 17408, 64),
    "gdn_in": (16384, 5120, 48),
    "gdn_out": (5120, 6144, 48),
    "qkv": (14336, 5120, 16),
    "attention_out": (5120, 6144, 16),
}
"""Outputs, inputs, how often in a step; fused as vLLM fuses them."""
TOKENS = (
    *(
        1,
        8,
        16,
        32,
        48,
        64,
        80,
        96,
        128,
        160,
        192,
        224,
        256,
        288,
        320,
        352,
        384,
        448,
        512,
        576,
        640,
    ),
    *(704, 768, 896, 1024, 1088, 1120, 1152, 1216, 1280, 1344, 1408, 1472, 1536, 1664, 1792, 1920),
    *(2048, 2144, 2176, 2304, 2368, 2560, 3072, 3584, 4096, 6144, 8192),
)
FP8 = torch.float8_e4m3fn
CACHE_BYTES = 200e6
BLOCK = 128
CALLS = 12
REPETITIONS = 5
KERNELS = ("cutlass_channel", "torch_channel", "torch_tensor", "cutlass_block")
DEEP_GEMM = "deep_gemm_block"
Call = Callable[[int], torch.Tensor]
"""One multiplication with the weights of that number."""


def main() -> None:
    """Write a line per kernel, shape and number of tokens."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--kernel",
        action="append",
        choices=[*KERNELS, DEEP_GEMM],
        help="default: all but DeepGEMM",
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS, help="in a step")
    options = parser.parse_args()
    wanted = options.kernel or KERNELS
    with options.out.open("w", encoding="utf-8") as file:
        for name, (outputs, inputs, count) in SHAPES.items():
            weights = _weights(outputs, inputs)
            for tokens in options.tokens:
                calls = _kernels(tokens, outputs, inputs, weights)
                if DEEP_GEMM in wanted:
                    calls[DEEP_GEMM] = _deep_gemm(tokens, outputs, inputs, weights)
                for kernel in wanted:
                    line = {
                        "gpu": torch.cuda.get_device_name(),
                        "kernel": kernel,
                        "shape": name,
                        "count": count,
                        "m": tokens,
                        "n": outputs,
                        "k": inputs,
                        **_timed(calls[kernel], len(weights)),
                    }
                    file.write(json.dumps(line) + "\n")
                file.flush()


def _weights(outputs: int, inputs: int) -> list[torch.Tensor]:
    copies = max(2, int(CACHE_BYTES // (outputs * inputs)) + 1)
    return [(torch.randn(outputs, inputs, device="cuda") / 8).to(FP8).t() for _ in range(copies)]


def _kernels(
    tokens: int, outputs: int, inputs: int, weights: list[torch.Tensor]
) -> dict[str, Call]:
    given = (torch.randn(tokens, inputs, device="cuda") / 8).to(FP8)
    one = torch.ones(1, device="cuda")
    rows, columns = torch.rand(tokens, 1, device="cuda"), torch.rand(outputs, 1, device="cuda")
    by_rows = torch.rand(inputs // BLOCK, tokens, device="cuda").t()
    by_blocks = torch.rand(outputs // BLOCK, inputs // BLOCK, device="cuda").t()
    dtype = torch.bfloat16

    def torch_channel(i: int) -> torch.Tensor:
        wide = torch._scaled_mm(given, weights[i], one, one, out_dtype=torch.float32)
        return _rescaled(wide, rows, columns)

    return {
        "cutlass_channel": lambda i: ops.cutlass_scaled_mm(given, weights[i], rows, columns, dtype),
        "torch_channel": torch_channel,
        "torch_tensor": lambda i: torch._scaled_mm(given, weights[i], one, one, out_dtype=dtype),
        "cutlass_block": lambda i: ops.cutlass_scaled_mm(
            given, weights[i], by_rows, by_blocks, dtype
        ),
    }


def _deep_gemm(tokens: int, outputs: int, inputs: int, weights: list[torch.Tensor]) -> Call:
    given = (torch.randn(tokens, inputs, device="cuda") / 8).to(FP8)
    rows = get_col_major_tma_aligned_tensor(torch.rand(tokens, inputs // BLOCK, device="cuda"))
    blocks = torch.rand(outputs // BLOCK, inputs // BLOCK, device="cuda")
    out = torch.empty(tokens, outputs, device="cuda", dtype=torch.bfloat16)

    def call(i: int) -> torch.Tensor:
        fp8_gemm_nt((given, rows), (weights[i].t(), blocks), out, is_deep_gemm_e8m0_used=False)
        return out

    return call


def _rescale(wide: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    return (wide * rows * columns.t()).to(torch.bfloat16)


_rescaled = torch.compile(_rescale, dynamic=True)


def _timed(call: Call, weights: int) -> dict[str, Any]:
    """Microseconds a call; why not, where the kernel refuses."""
    try:
        for i in range(2):
            call(i)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for i in range(CALLS):
                call(i % weights)
        times = [_replay_us(graph) / CALLS for _ in range(REPETITIONS)]
    except (RuntimeError, AssertionError, ValueError) as error:
        torch.cuda.synchronize()
        return {"error": str(error).splitlines()[0][:200]}
    return {"us": round(median(times), 2)}


def _replay_us(graph: torch.cuda.CUDAGraph) -> float:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    graph.replay()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end) * 1e3)


if __name__ == "__main__":
    main()
