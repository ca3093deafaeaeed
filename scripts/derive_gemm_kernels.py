"""Write `perf/gemm_kernels.toml` from what `benchmarks/gpu/gemm.py` measured.

    python scripts/derive_gemm_kernels.py

Each kernel's time for all layers of Qwen3.5-27B over that of the tables of its format, by tokens.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace.perf.gemm import gemm_seconds
from headrace.perf.kernels import TOKENS

ROOT = Path(__file__).parents[1]
OUT = ROOT / "src/headrace/perf/gemm_kernels.toml"
HEAD = """\
# Written by scripts/derive_gemm_kernels.py: time of FP8 GEMM kernels over the tables' (gemm.npz),
# by tokens in a step, over all layers of Qwen3.5-27B. perf.gemm_kernels says how it is read.
"""


@dataclass(frozen=True)
class Kernel:
    """Where a kernel was measured."""

    name: str
    table: str
    """The one that the model takes for the kernel's format."""
    sitting: str
    without: frozenset[int] = frozenset()
    """Tokens at which another process had the GPU: one shape took twice its neighbours' time."""


KERNELS = (
    Kernel("cutlass_channel", "fp8", "2026-11-24-gemm-h100"),
    Kernel("torch_channel", "fp8", "2026-11-24-gemm-h100"),
    Kernel("torch_tensor", "fp8", "2026-11-24-gemm-h100"),
    Kernel("cutlass_block", "fp8_block", "2026-11-24-gemm-h100"),
    Kernel("deep_gemm_block", "fp8_block", "2026-11-29-h200", frozenset({768})),
)


def main() -> None:
    """One table per kernel."""
    OUT.write_text(HEAD + "".join(map(_table, KERNELS)), encoding="utf-8")


def _table(kernel: Kernel) -> str:
    source = ROOT / "benchmarks/gpu/results" / kernel.sitting / "gemm.jsonl"
    every = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in every if row["kernel"] == kernel.name and row["m"] not in kernel.without]
    gpu = next(word for word in rows[0]["gpu"].split() if word[0] in "HAB" and word[1:].isdigit())
    measured: defaultdict[int, float] = defaultdict(float)
    for row in rows:
        measured[row["m"]] += row["us"] * row["count"] / 1e6
    tokens = sorted(measured)
    shapes = {(row["n"], row["k"], row["count"]) for row in rows}
    table_s = sum(count * gemm_seconds(gpu, kernel.table, n, k) for n, k, count in shapes)
    ratio = [round(float(measured[m] / np.interp(m, TOKENS, table_s)), 3) for m in tokens]
    return (
        f'\n[{kernel.name}]\ngpu = "{gpu}"\ntokens = {_lines(tokens)}\n'
        f"ratio = {_lines(ratio)}\n"
        f'source = "one {gpu}, vLLM 0.26.0, PyTorch 2.11 with CUDA 13: {kernel.sitting}"\n'
    )


def _lines(values: list[int] | list[float]) -> str:
    rows = [values[i : i + 12] for i in range(0, len(values), 12)]
    inner = "".join(f"    {', '.join(map(str, row))},\n" for row in rows)
    return f"[\n{inner}]"


if __name__ == "__main__":
    main()
