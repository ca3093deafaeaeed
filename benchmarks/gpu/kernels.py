"""Where the steps of a profiled engine go: GPU time by kind of kernel, from vLLM's torch profile.

    python benchmarks/gpu/kernels.py TRACE.json.gz... [--json OUT]

vLLM names each step after what it holds (`execute_context_1(1024)_generation_255(255)`), so steps
that only decode and steps with one, two or more prompts are told apart. Medians over the steps of
each kind: `decode`, `mixed` with the fewest prompts that were seen, `mixed 2` and so on.
"""

from __future__ import annotations

import argparse
import gzip
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import orjson

STEP = re.compile(r"execute_context_(\d+)\((\d+)\)_generation_(\d+)\((\d+)\)")
LATE_MS = 50.0
"""Sampling and copies run after the forward pass that a step's name spans."""
KERNELS = ("kernel", "gpu_memcpy", "gpu_memset")
STEPS = "gpu_user_annotation"
KINDS = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        (
            "attention",
            r"flash(?!infergdn)|fmha|kernel_mha|paged_attention|reshape_and_cache|merge_attn",
        ),
        ("state, decode", r"recurrent|delta_rule_(update|decode)|packed_decode|conv1d_update"),
        (
            "state, prefill",
            r"flashinfergdn|chunk_|solve_tril|_wy_|recompute_w_u|causal_conv1d|l2norm|local_cumsum",
        ),
        ("sampling", r"argmax|top_?k|top_?p|softmax|rejection|sampl|logit|gumbel"),
        ("quantization", r"quant|triton_.*scaled_mm"),
        ("gemm", r"gemm|cutlass|scaled_mm|nvjet|cublas|xmma|splitk|wgmma|device_kernel|_matmul"),
        ("copies", r"memcpy|memset|copy"),
        (
            "element-wise",
            r"triton|norm|elementwise|silu|act_and_mul|rotary|reduce|index|gather|fill",
        ),
    )
)
"""First match wins: FlashAttention's kernels are built with CUTLASS and say so, and the kernels
that quantize a GEMM's input are fused by torch.compile and named after all that is around."""


@dataclass
class Step:
    """One step on the GPU; times in milliseconds."""

    prompts: int
    prompt_tokens: int
    sequences: int
    start_ms: float
    end_ms: float
    by_kind: Counter[str] = field(default_factory=Counter)
    by_kernel: Counter[str] = field(default_factory=Counter)

    @property
    def busy_ms(self) -> float:
        """The sum of its kernels; they may overlap."""
        return sum(self.by_kind.values())


def kind_of(kernel: str) -> str:
    """What a kernel does, by its name."""
    return next((name for name, pattern in KINDS if pattern.search(kernel)), "other")


def steps_of(trace: dict[str, Any]) -> list[Step]:
    """The steps in order, each with the kernels that ran within it. Pure."""
    events = [e for e in trace["traceEvents"] if e.get("ph") == "X"]
    named = [e for e in events if STEP.match(str(e.get("name", "")))]
    on_gpu = [e for e in named if e.get("cat") == STEPS]
    steps = sorted(map(_step, on_gpu or named), key=lambda step: step.start_ms)
    starts = [step.start_ms for step in steps]
    for event in events:
        if event.get("cat") not in KERNELS:
            continue
        at = bisect_right(starts, event["ts"] / 1e3) - 1
        if at >= 0 and event["ts"] / 1e3 < LATE_MS + steps[at].end_ms:
            name, took_ms = str(event["name"]), event["dur"] / 1e3
            steps[at].by_kind[kind_of(name)] += took_ms
            steps[at].by_kernel[name] += took_ms
    return steps


def _step(event: dict[str, Any]) -> Step:
    match = STEP.match(event["name"])
    assert match is not None
    prompts, tokens, sequences, _ = map(int, match.groups())
    start_ms = event["ts"] / 1e3
    return Step(prompts, tokens, sequences, start_ms, start_ms + event["dur"] / 1e3)


def summary(steps: list[Step]) -> dict[str, Any]:
    """Medians of the steps with no, one, two ... prompts. The last step is cut."""
    kinds: defaultdict[int, list[tuple[Step, Step]]] = defaultdict(list)
    for step, after in pairwise(steps):
        kinds[step.prompts].append((step, after))
    fewest = min(filter(None, kinds), default=0)
    names = {fewest: "mixed", 0: "decode"}
    return {names.get(n, f"mixed {n}"): _medians(kinds[n]) for n in sorted(kinds)}


def _medians(chosen: list[tuple[Step, Step]]) -> dict[str, Any]:
    steps = [step for step, _ in chosen]
    kinds = sorted({kind for step in steps for kind in step.by_kind})
    kernels: defaultdict[str, float] = defaultdict(float)
    for step in steps:
        for kernel, took_ms in step.by_kernel.items():
            kernels[kernel] += took_ms / len(steps)
    top = sorted(kernels.items(), key=lambda item: -item[1])[:25]
    return {
        "steps": len(steps),
        "prompts": steps[0].prompts,
        "sequences": median(step.sequences for step in steps),
        "prompt_tokens": median(step.prompt_tokens for step in steps),
        "start_to_start_ms": median(after.start_ms - step.start_ms for step, after in chosen),
        "busy_ms": median(step.busy_ms for step in steps),
        "by_kind_ms": {kind: median(step.by_kind[kind] for step in steps) for kind in kinds},
        "top_kernels_ms": {name[:120]: round(took_ms, 3) for name, took_ms in top},
    }


def read(path: Path) -> dict[str, Any]:
    """A trace, gzipped or not."""
    data = path.read_bytes()
    trace: dict[str, Any] = orjson.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    return trace


def main() -> None:
    """Print a table for each trace."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("traces", type=Path, nargs="+")
    parser.add_argument("--json", type=Path, help="also write the summaries here")
    options = parser.parse_args()
    found = {str(path): summary(steps_of(read(path))) for path in options.traces}
    for path, kinds in found.items():
        print(path if kinds else f"{path}: no step ran on a GPU")
        for kind, medians in kinds.items():
            _show(kind, medians)
    if options.json:
        options.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))


def _show(kind: str, medians: dict[str, Any]) -> None:
    step_ms, busy_ms = medians["start_to_start_ms"], medians["busy_ms"]
    print(
        f"  {kind}: {medians['steps']} steps of {medians['sequences']:g} sequences and "
        f"{medians['prompt_tokens']:g} prompt tokens, {step_ms:.2f} ms, kernels {busy_ms:.2f} ms"
    )
    for name, took_ms in sorted(medians["by_kind_ms"].items(), key=lambda item: -item[1]):
        print(f"    {took_ms:8.2f} ms  {took_ms / step_ms:5.1%}  {name}")
    for name, took_ms in list(medians["top_kernels_ms"].items())[:10]:
        print(f"      {took_ms:8.2f} ms  {name[:80]}")


if __name__ == "__main__":
    main()
