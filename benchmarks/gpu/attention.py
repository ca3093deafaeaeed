"""How quick attention of Qwen3.5-27B's decode steps is, by kernel, sequences and context.

    python benchmarks/gpu/attention.py OUT.jsonl     # a Hopper GPU, vLLM, FlashInfer; half a minute

Which kernel an engine takes follows from --attention-backend and --kv-cache-dtype:

    flash_attn_fp8    FLASH_ATTN (vLLM's own choice on Hopper) over an FP8 cache: FlashAttention 3
    flash_attn_bf16   the same over a 16-bit cache
    flashinfer_fp8    FLASHINFER over an FP8 cache: XQA, which keeps queries in 16 bit

Every line is one layer: microseconds, median of repetitions, and the share of the GPU's bandwidth
at which the cache was read. Caches are far larger than the GPU's own (L2). Also says how far the
FP8 kernels' outputs are from the 16-bit one's, as a share of its largest value.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from flashinfer.decode import trtllm_batch_decode_with_kv_cache
from vllm.vllm_flash_attn import flash_attn_varlen_func

HEADS, KV_HEADS, HEAD_DIM, LAYERS = 24, 4, 256, 16
PAGE = 64
FP8 = torch.float8_e4m3fn
SIZES = ((64, 1280), (256, 1280), (512, 1280), (48, 8704), (64, 1152))
"""Sequences, and tokens of context of each."""
REPETITIONS, CALLS = 9, 5
BANDWIDTH_BYTES_S = 4.8e12
Kernel = Callable[[], torch.Tensor]


def kernels(sequences: int, context: int) -> dict[str, Kernel]:
    """Every kernel on the same queries and the same cache, laid out as vLLM lays it out."""
    pages = -(-context // PAGE)
    shape = (sequences * pages, PAGE, KV_HEADS, 2 * HEAD_DIM)  # keys and values side by side
    cache = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
    small = cache.to(FP8)
    table = torch.randperm(sequences * pages, device="cuda", dtype=torch.int32)
    table = table.view(sequences, pages)
    query = torch.randn(sequences, HEADS, HEAD_DIM, device="cuda", dtype=torch.bfloat16)
    lengths = torch.full((sequences,), context, device="cuda", dtype=torch.int32)
    starts = torch.arange(sequences + 1, device="cuda", dtype=torch.int32)
    ones = torch.ones(sequences, KV_HEADS, device="cuda")
    workspace = torch.zeros(512 * 2**20, device="cuda", dtype=torch.uint8)
    scale = HEAD_DIM**-0.5

    def flash(queries: torch.Tensor, kv: torch.Tensor, **scales: Any) -> torch.Tensor:
        return flash_attn_varlen_func(
            q=queries,
            k=kv[..., :HEAD_DIM],
            v=kv[..., HEAD_DIM:],
            out=torch.empty_like(query),
            cu_seqlens_q=starts,
            max_seqlen_q=1,
            seqused_k=lengths,
            max_seqlen_k=context,
            softmax_scale=scale,
            causal=True,
            block_table=table,
            fa_version=3,
            **scales,
        )

    def xqa() -> torch.Tensor:
        return trtllm_batch_decode_with_kv_cache(
            query=query,
            kv_cache=(small[..., :HEAD_DIM], small[..., HEAD_DIM:]),
            workspace_buffer=workspace,
            block_tables=table,
            seq_lens=lengths,
            max_seq_len=context,
            bmm1_scale=scale,
            bmm2_scale=1.0,
            out=torch.empty_like(query),
            kv_layout="NHD",
            backend="xqa",
        )

    descale = {"q_descale": ones, "k_descale": ones, "v_descale": ones}
    return {
        "flash_attn_bf16": lambda: flash(query, cache),
        "flash_attn_fp8": lambda: flash(query.to(FP8), small, **descale),
        "flashinfer_fp8": xqa,
    }


def microseconds(kernel: Kernel) -> float:
    """Of one call, the median over groups of calls."""
    found = []
    for _ in range(REPETITIONS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(CALLS):
            kernel()
        end.record()
        end.synchronize()
        found.append(float(begin.elapsed_time(end)) * 1e3 / CALLS)
    return median(found)


def main() -> None:
    """One line for each kernel and size, as it comes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    with options.out.open("a", encoding="utf-8") as file:
        for sequences, context in SIZES:
            exact: torch.Tensor | None = None
            for name, kernel in kernels(sequences, context).items():
                output = kernel().float()  # also compiles
                exact = output if exact is None else exact
                took_us = microseconds(kernel)
                width = 1 if name.endswith("fp8") else 2
                read = sequences * context * KV_HEADS * 2 * HEAD_DIM * width
                line = {
                    "kernel": name,
                    "sequences": sequences,
                    "context_tokens": context,
                    "us": round(took_us, 2),
                    "bandwidth_share": round(read / (took_us * 1e-6) / BANDWIDTH_BYTES_S, 4),
                    "step_ms": round(took_us * LAYERS / 1e3, 3),
                    "off": round(((output - exact).abs().max() / exact.abs().max()).item(), 4),
                    "gpu": torch.cuda.get_device_name(),
                }
                file.write(json.dumps(line) + "\n")
                file.flush()
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
