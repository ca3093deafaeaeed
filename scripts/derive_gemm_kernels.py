"""Write `perf/gemm_kernels.toml` from what `benchmarks/gpu/gemm.py` measured.

    python scripts/derive_gemm_kernels.py benchmarks/gpu/results/2026-11-24-gemm-h100/gemm.jsonl

Each kernel's time for all layers of Qwen3.5-27B over that of the tables of its format, by tokens.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from headrace.perf.gemm import gemm_seconds
from headrace.perf.kernels import TOKENS

OUT = Path(__file__).parents[1] / "src/headrace/perf/gemm_kernels.toml"
TABLES = {
    "cutlass_channel": "fp8",
    "torch_channel": "fp8",
    "torch_tensor": "fp8",
    "cutlass_block": "fp8_block",
}
"""The table that the model takes for the kernel's format."""
HEAD = """\
# Written by scripts/derive_gemm_kernels.py: time of FP8 GEMM kernels over the tables' (gemm.npz),
# by tokens in a step, over all layers of Qwen3.5-27B. perf.gemm_kernels says how it is read.
"""


def main() -> None:
    """One table per kernel."""
    source = Path(sys.argv[1])
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    gpu = next(word for word in rows[0]["gpu"].split() if word[0] in "HAB" and word[1:].isdigit())
    measured: defaultdict[tuple[str, int], float] = defaultdict(float)
    for row in rows:
        measured[row["kernel"], row["m"]] += row["us"] * row["count"] / 1e6
    tokens = sorted({row["m"] for row in rows})
    shapes = {(row["n"], row["k"], row["count"]) for row in rows}
    text = HEAD
    for kernel, table in TABLES.items():
        table_s = sum(count * gemm_seconds(gpu, table, n, k) for n, k, count in shapes)
        ratio = [measured[kernel, m] / np.interp(m, TOKENS, table_s) for m in tokens]
        text += f'\n[{kernel}]\ngpu = "{gpu}"\ntokens = {_lines(tokens)}\n'
        text += f"ratio = {_lines([round(float(value), 3) for value in ratio])}\n"
        text += (
            f'source = "one {gpu}, vLLM 0.26.0, PyTorch 2.11 with CUDA 13: {source.parent.name}"\n'
        )
    OUT.write_text(text, encoding="utf-8")


def _lines(values: list[int] | list[float]) -> str:
    rows = [values[i : i + 12] for i in range(0, len(values), 12)]
    inner = "".join(f"    {', '.join(map(str, row))},\n" for row in rows)
    return f"[\n{inner}]"


if __name__ == "__main__":
    main()
