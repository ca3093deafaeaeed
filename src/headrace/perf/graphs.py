"""Which steps CUDA graphs cover: vLLM captures them for a list of token counts.

A step of fewer tokens is padded to the next size in the list. One of more tokens than the largest
size is launched kernel by kernel, which costs the host time. Rules as in vLLM 0.18 to 0.33
(`_set_cudagraph_sizes`).
"""

from __future__ import annotations

import math
from functools import cache

from headrace.perf.config import EngineConfig

CEILING = 512
"""Tokens up to which every version captures by itself (1,024 on B200 in late ones)."""
COARSE = 16
"""Distance of the sizes from 256 tokens on; below it is half of that."""

PROMPT_SIZES = (1, 2, 4, 8, 16, 32, 48, 64, 96, *range(128, 256, 32), *range(256, 4097, 256))
"""Sizes that cover steps with a few prompts too, at the multiples that GEMM kernels like."""


def captured_tokens(config: EngineConfig) -> tuple[float, ...]:
    """The token counts that are captured, ascending; none where graphs are off."""
    if config.enforce_eager:
        return ()
    batched = config.max_num_batched_tokens
    if config.captured:
        return tuple(sorted(float(size) for size in {*config.captured} if size <= batched))
    return _grid(min(_largest(config), batched))


def covering(max_num_seqs: int, mtp_depth: int, max_num_batched_tokens: int) -> int | None:
    """The largest size that holds the fullest decode step; None where vLLM's own sizes do.

    It is a multiple of 16, and for a drafting engine also of whole sequences of 1 + depth tokens.
    More than max_num_batched_tokens are never captured.
    """
    per_sequence = 1 + mtp_depth
    fullest = max_num_seqs * per_sequence
    if fullest <= CEILING:
        return None
    step = math.lcm(COARSE, per_sequence)
    largest = min(math.ceil(fullest / step), max_num_batched_tokens // step) * step
    return largest if largest > CEILING else None


def _largest(config: EngineConfig) -> int:
    if config.max_captured is not None:
        return config.max_captured
    seqs, depth = config.max_num_seqs, config.mtp_depth
    wide = covering(seqs, depth, config.max_num_batched_tokens) if config.cover_decode else None
    return wide or min(2 * seqs * (1 + depth), CEILING)


@cache
def _grid(largest: int) -> tuple[float, ...]:
    sizes = [1, 2, 4, *range(8, 256, COARSE // 2), *range(256, largest + 1, COARSE)]
    return tuple(float(size) for size in sizes if size <= largest)
