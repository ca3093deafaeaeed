"""The time of one engine step, from what the step holds.

One formula serves the planner, the simulator, the simulated engine and the calibration.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, fields
from typing import Any

ONE_WAVE = 0.8
"""Where attention fills less of the GPU than this, FlashAttention 3 splits sequences (heuristics.h,
`num_splits_heuristic`), and no processor waits for another."""


@dataclass(frozen=True)
class StepBatch:
    """What one step of continuous batching computes.

    `decode_sequences` each verify 1 + drafted tokens. `decode_context_tokens` is the sum of their
    context lengths (the cache that attention reads). `prefill_tokens` are the new prompt tokens of
    this step, `prefill_sequences` the requests they belong to, and `prefill_context_tokens` the
    sum over prefill chunks of chunk length x mean context that each of its tokens attends to.
    """

    decode_sequences: float
    decode_context_tokens: float
    prefill_tokens: float = 0.0
    prefill_sequences: float = 0.0
    prefill_context_tokens: float = 0.0


@dataclass(frozen=True)
class StepModel:
    """Coefficients of the step time of one replica. Seconds, per the unit that the name ends in.

    `verified` is 1 + MTP depth: the tokens that a decoding sequence puts through the model in one
    step. `gemm_s` and `head_s` are the times of all matrix multiplications and of the LM head for
    the numbers of tokens (or rows) in `grid`; between them the time is linear.

    `captured` are the token counts that CUDA graphs were captured for: a step is padded to the
    next one. The kernels of a larger step are launched one by one, which takes the host `launch_s`:
    the GPU waits for it where it is quicker. Its GEMMs take `unpadded_gemm` times as long. A step
    with prompts runs in pieces of graphs: what lies between them (attention, recurrent state) is
    launched one by one, which takes the host `piecewise_s`. And a sequence that decodes beside
    prompts takes another kernel for its state, `mixed_state` times as long.

    A kernel of attention that computes each sequence on processors of its own fills the GPU
    `attention_waves_per_sequence` times for each; what it takes goes with whole waves.
    """

    verified: float
    grid: tuple[float, ...]
    gemm_s: tuple[float, ...]
    head_s: tuple[float, ...]
    sample_s_per_row: float
    attention_s: float
    attention_s_per_context_token: float
    state_s_per_sequence: float
    prefill_attention_s_per_context_token: float
    prefill_state_s_per_token: float
    elementwise_s_per_token: float
    collective_s: float
    collective_s_per_token: float
    draft_s: float
    draft_s_per_sequence: float
    host_s: float
    host_s_per_sequence: float
    mixed_s: float
    launch_s: float = 0.0
    piecewise_s: float = 0.0
    unpadded_gemm: float = 1.0
    mixed_state: float = 1.0
    attention_waves_per_sequence: float = 0.0
    captured: tuple[float, ...] = ()

    @classmethod
    def of_length(cls, step_s: float, verified: float = 1.0) -> StepModel:
        """Steps of one length whatever is in them: for tests of what lies around the model."""
        figures: dict[str, Any] = {field.name: 0.0 for field in fields(cls)}
        curves = {"grid": (1.0, 2.0), "gemm_s": (0.0, 0.0), "head_s": (0.0, 0.0), "captured": ()}
        return cls(**figures | curves | {"verified": verified, "host_s": step_s})

    def parts(self, batch: StepBatch, spare_s: float = 0.0) -> dict[str, float]:
        """Seconds by cause; their sum is the step.

        `spare_s` is how long the host could launch it while the step before was still running.
        """
        kernels, launching_s = self._kernels(batch)
        mixed = _mixed(batch)
        return kernels | {
            "launch": max(0.0, launching_s - spare_s - sum(kernels.values())),
            "host": self.host_s
            + self.host_s_per_sequence * batch.decode_sequences
            + self.mixed_s * mixed,
        }

    def spare_s(self, batch: StepBatch) -> float:
        """How long the kernels of a step still run when the host has launched all of them."""
        kernels, launching_s = self._kernels(batch)
        return max(0.0, sum(kernels.values()) - launching_s)

    def _kernels(self, batch: StepBatch) -> tuple[dict[str, float], float]:
        """Seconds by cause on the GPU, and of the host to launch what is outside of graphs."""
        decoded = batch.decode_sequences * self.verified
        tokens = padded(self.captured, decoded + batch.prefill_tokens)
        rows = decoded + batch.prefill_sequences
        mixed = _mixed(batch)
        kernels = {
            "gemm": self._unpadded(tokens) * interpolated(self.grid, self.gemm_s, tokens),
            "head": interpolated(self.grid, self.head_s, rows) + self.sample_s_per_row * rows,
            "attention": self.attention_s
            + self.attention_s_per_context_token
            * self._whole_waves(batch.decode_sequences)
            * batch.decode_context_tokens
            + self.prefill_attention_s_per_context_token * batch.prefill_context_tokens,
            "state": self.state_s_per_sequence
            * (1 + (self.mixed_state - 1) * mixed)
            * batch.decode_sequences
            + self.prefill_state_s_per_token * batch.prefill_tokens,
            "elementwise": self.elementwise_s_per_token * tokens,
            "collective": self.collective_s + self.collective_s_per_token * tokens,
            "draft": self.draft_s + self.draft_s_per_sequence * batch.decode_sequences,
        }
        return kernels, self.piecewise_s * mixed if self.covers(tokens) else self.launch_s

    def covers(self, tokens: float) -> bool:
        """Whether a CUDA graph holds a step of so many tokens."""
        return bool(self.captured) and tokens <= self.captured[-1]

    def _whole_waves(self, sequences: float) -> float:
        """Time of attention over that in which no processor waits for others' sequences."""
        waves = sequences * self.attention_waves_per_sequence
        return math.ceil(waves - 1e-9) / waves if waves > ONE_WAVE else 1.0

    def _unpadded(self, tokens: float) -> float:
        return 1.0 if self.covers(tokens) else self.unpadded_gemm

    def step_s(self, batch: StepBatch, spare_s: float = 0.0) -> float:
        """Seconds that the step takes."""
        return sum(self.parts(batch, spare_s).values())


def _mixed(batch: StepBatch) -> float:
    """Whether a step has prompts: near 0 or 1, and smooth for what a mean step has of one."""
    return batch.prefill_sequences / (batch.prefill_sequences + 0.05)


def padded(captured: tuple[float, ...], tokens: float) -> float:
    """The size of the CUDA graph that a step of so many tokens runs in; they, where none does."""
    if not captured or tokens > captured[-1]:
        return tokens
    return captured[bisect_left(captured, tokens)]


def interpolated(grid: tuple[float, ...], values: tuple[float, ...], x: float) -> float:
    """The value at `x` of a curve given at `grid`; the last piece goes on beyond its end."""
    if x <= grid[0]:
        return values[0]
    right = min(bisect_left(grid, x), len(grid) - 1)
    left = right - 1
    share = (x - grid[left]) / (grid[right] - grid[left])
    return values[left] + share * (values[right] - values[left])
