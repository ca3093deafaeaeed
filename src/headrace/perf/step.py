"""The time of one engine step, from what the step holds.

One formula serves the planner, the simulator, the simulated engine and the calibration. Its
coefficients are numbers for one replica, or numpy arrays for many candidates at once.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    step. `..._floor_s` is the time to read the weights once, below which no batch gets. Of an MoE's
    expert weights (`expert_floor_s`) only those are read that a token of the step was routed to:
    each token reads `expert_share` of them, by chance the same ones as others.
    """

    verified: float
    gemm_floor_s: float
    gemm_s_per_token: float
    expert_floor_s: float
    expert_share: float
    head_floor_s: float
    head_s_per_row: float
    sample_s_per_row: float
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

    def parts(self, batch: StepBatch) -> dict[str, float]:
        """Seconds by cause; their sum is the step."""
        decoded = batch.decode_sequences * self.verified
        tokens = decoded + batch.prefill_tokens
        rows = decoded + batch.prefill_sequences
        floor_s = self.gemm_floor_s + self.expert_floor_s * (1 - (1 - self.expert_share) ** tokens)
        mixed = batch.prefill_sequences / (batch.prefill_sequences + 0.05)
        return {
            "gemm": _floor_or_slope(floor_s, self.gemm_s_per_token * tokens),
            "head": _floor_or_slope(self.head_floor_s, self.head_s_per_row * rows)
            + self.sample_s_per_row * rows,
            "attention": self.attention_s_per_context_token * batch.decode_context_tokens
            + self.prefill_attention_s_per_context_token * batch.prefill_context_tokens,
            "state": self.state_s_per_sequence * batch.decode_sequences
            + self.prefill_state_s_per_token * batch.prefill_tokens,
            "elementwise": self.elementwise_s_per_token * tokens,
            "collective": self.collective_s + self.collective_s_per_token * tokens,
            "draft": self.draft_s + self.draft_s_per_sequence * batch.decode_sequences,
            "host": self.host_s
            + self.host_s_per_sequence * batch.decode_sequences
            + self.mixed_s * mixed,
        }

    def step_s(self, batch: StepBatch) -> float:
        """Seconds that the step takes."""
        return sum(self.parts(batch).values())


def _floor_or_slope(floor_s: float, slope_s: float) -> float:
    """The larger of a bandwidth floor and a compute slope, with the soft knee that kernels show.

    A p-norm (p = 6) instead of max(): within 12 % of it at the knee, exact away from it, and the
    same expression for floats and arrays.
    """
    result: float = (floor_s**6 + slope_s**6) ** (1 / 6)
    return result
