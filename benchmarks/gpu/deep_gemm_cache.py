"""Compile DeepGEMM's kernels for Qwen3.5-27B on several cores, before an engine needs them.

    python benchmarks/gpu/deep_gemm_cache.py [--workers 8]      # needs a GPU, vLLM and nvcc

vLLM's own warm-up (VLLM_DEEP_GEMM_WARMUP=relax) compiles one kernel after another, some seconds of
nvcc each. This compiles the same ones side by side into the same folder, where an engine that
starts afterwards finds them: 52 s with 8 workers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time

import torch
from gemm import BLOCK, FP8, SHAPES
from vllm.model_executor.warmup.deep_gemm_warmup import _generate_optimal_warmup_m_values
from vllm.utils.deep_gemm import fp8_gemm_nt, get_col_major_tma_aligned_tensor

PARTS = 6
"""Into which the sizes of steps are cut for each shape: neighbours share their kernels."""
Task = tuple[int, int, int, int]
"""Outputs, inputs, the largest step, which part."""


def main() -> None:
    """One line for each part that is compiled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tokens", type=int, default=8192, help="the largest step")
    parser.add_argument("--workers", type=int, default=8)
    options = parser.parse_args()
    began_s = time.monotonic()
    shapes = sorted({(outputs, inputs) for outputs, inputs, _ in SHAPES.values()}, reverse=True)
    tasks = [(*shape, options.tokens, part) for shape in shapes for part in range(PARTS)]
    # forked: vLLM is imported once, and no more than the workers touches the GPU
    with multiprocessing.get_context("fork").Pool(options.workers) as pool:
        for outputs, inputs, _, part in pool.imap_unordered(_compiled, tasks):
            seconds = time.monotonic() - began_s
            print(f"{seconds:.0f} s: {outputs} x {inputs}, part {part + 1} of {PARTS}", flush=True)


def _compiled(task: Task) -> Task:
    """Multiplying compiles; what the result is does not matter."""
    outputs, inputs, most, part = task
    steps = _generate_optimal_warmup_m_values(most, outputs, torch.device("cuda", 0))
    size = -(-len(steps) // PARTS)
    weights = torch.zeros(outputs, inputs, device="cuda", dtype=FP8)
    blocks = torch.ones(outputs // BLOCK, inputs // BLOCK, device="cuda")
    for tokens in steps[part * size : (part + 1) * size]:
        given = torch.zeros(tokens, inputs, device="cuda", dtype=FP8)
        rows = get_col_major_tma_aligned_tensor(torch.ones(tokens, inputs // BLOCK, device="cuda"))
        out = torch.empty(tokens, outputs, device="cuda", dtype=torch.bfloat16)
        fp8_gemm_nt((given, rows), (weights, blocks), out, is_deep_gemm_e8m0_used=False)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return task


if __name__ == "__main__":
    main()
