"""From a model, a GPU and engine settings to the coefficients of the step time.

A roofline by operator: GEMMs by dtype with a bandwidth floor, the LM head and sampling over the
vocabulary, cache and state traffic, prefill attention, element-wise work, collectives, drafting
and the host. The efficiencies come from `constants.toml`, each with its source.
"""

from __future__ import annotations

from headrace.hardware.gpu import ComputeDtype, Gpu
from headrace.models.facts import KV_BYTES, STATE_BYTES, Attention, Linear, ModelFacts
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Constants, Host, Kernels
from headrace.perf.memory import kv_split, linear_bytes
from headrace.perf.step import StepModel

COMPUTE: dict[str, ComputeDtype] = {
    "bf16": "bf16",
    "fp16": "bf16",
    "fp8_block": "fp8",
    "fp8_channel": "fp8",
    "fp8_tensor": "fp8",
    "int8": "int8",
    "nvfp4": "fp4",
    "mxfp4": "fp4",
    "int4": "bf16",
}
"""The tensor-core dtype that a weight format multiplies in, where the GPU has it."""


def step_model(
    facts: ModelFacts, gpu: Gpu, config: EngineConfig, constants: Constants
) -> StepModel:
    """The step time of one replica. Works for every family: absent parts cost nothing."""
    return _Operators(facts, gpu, config, constants).step_model()


class _Operators:
    """One model on one GPU type under one configuration."""

    def __init__(
        self, facts: ModelFacts, gpu: Gpu, config: EngineConfig, constants: Constants
    ) -> None:
        self.facts, self.gpu, self.config = facts, gpu, config
        self.tp = config.tensor_parallel
        self.kernels: Kernels = constants.kernels_of(gpu.name)
        self.host: Host = constants.host_of(config.version, facts.family, gpu.name)
        self.bandwidth = gpu.bandwidth_bytes_s * self.kernels.bandwidth

    def step_model(self) -> StepModel:
        kappa = self.host.kappa
        experts, dense = self._split(self.facts.linears)
        head_bytes = 2.0 * self.facts.vocab_size * self.facts.hidden_size
        return StepModel(
            verified=1 + self.config.mtp_depth,
            gemm_floor_s=kappa * self._read_s(dense),
            gemm_s_per_token=kappa * self._multiply_s(self.facts.linears),
            expert_floor_s=kappa * self._read_s(experts),
            expert_share=self._expert_share(),
            head_floor_s=kappa * head_bytes / self.bandwidth / self.tp,
            head_s_per_row=kappa * self._head_s_per_row(),
            sample_s_per_row=kappa * self._sample_s_per_row(),
            attention_s_per_context_token=kappa * self._attention_s(),
            state_s_per_sequence=kappa * self._state_s(),
            prefill_attention_s_per_context_token=kappa * self._prefill_attention_s(),
            prefill_state_s_per_token=kappa * self._prefill_state_s(),
            elementwise_s_per_token=kappa * self._elementwise_s(),
            collective_s=kappa * self._collective_s(),
            collective_s_per_token=kappa * self._collective_s_per_token(),
            draft_s=self._draft_s(),
            draft_s_per_sequence=kappa * self._draft_s_per_sequence(),
            host_s=self.host.step_s,
            host_s_per_sequence=self.host.sequence_s,
            mixed_s=self.host.mixed_s,
        )

    def _split(self, linears: tuple[Linear, ...]) -> tuple[list[Linear], list[Linear]]:
        """Routed experts, and all else."""
        experts = [x for x in linears if x.stored > x.count]
        return experts, [x for x in linears if x.stored == x.count]

    def _expert_share(self) -> float:
        experts = self.facts.experts
        return experts.active / experts.total if experts else 0.0

    def _read_s(self, linears: list[Linear] | tuple[Linear, ...]) -> float:
        """Seconds to read matrices once from memory."""
        return sum(linear_bytes(x, self.facts) for x in linears) / self.bandwidth / self.tp

    def _multiply_s(self, linears: tuple[Linear, ...]) -> float:
        """Seconds of tensor-core time per token."""
        quantized = sum(x.active_parameters for x in linears if x.quantized)
        plain = sum(x.active_parameters for x in linears if not x.quantized)
        return 2 * (quantized / self._flops() + plain / self._flops_bf16()) / self.tp

    def _flops(self) -> float:
        """Achieved FLOP/s of the quantized layers."""
        dtype = COMPUTE[self.facts.weights_dtype]
        peak = self.gpu.flops.get(dtype)
        if peak is None:
            return self.gpu.flops["bf16"] * self.kernels.weight_only_gemm
        block = self.facts.weights_dtype == "fp8_block"
        scaling = self.kernels.fp8_block_of_fp8 if block else 1.0
        return peak * self.kernels.gemm.get(dtype, 0.4) * scaling

    def _flops_bf16(self) -> float:
        return self.gpu.flops["bf16"] * self.kernels.gemm["bf16"]

    def _head_s_per_row(self) -> float:
        """The LM head is kept in 16 bit and split over the vocabulary."""
        return 2 * self.facts.vocab_size * self.facts.hidden_size / self._flops_bf16() / self.tp

    def _sample_s_per_row(self) -> float:
        """Softmax, penalties and argmax over float32 logits, several passes each."""
        return 4 * self.facts.vocab_size * self.kernels.sample_passes / self.bandwidth / self.tp

    def _attention_s(self) -> float:
        """Seconds to read one token's cache entry over all attention layers."""
        width = KV_BYTES[self.config.kv_dtype]
        values = sum(
            a.kv_values_per_token / kv_split(a.kv_heads, a.latent_dim, self.tp)
            for a in self.facts.attention
        )
        return width * values / self.bandwidth

    def _state_s(self) -> float:
        """The slower of traffic (one read, a write per verified token) and arithmetic."""
        gdn = self.facts.linear_attention
        if gdn is None:
            return 0.0
        values = gdn.layers * gdn.state_values_per_layer
        verified = 1 + self.config.mtp_depth
        moved = values * STATE_BYTES[self.config.state_dtype] * (1 + verified)
        traffic_s = moved / (self.gpu.bandwidth_bytes_s * self.kernels.state_bandwidth)
        arithmetic_s = values * verified * self.kernels.state_update_s_per_value
        return max(traffic_s, arithmetic_s) / self.tp

    def _prefill_attention_s(self) -> float:
        """Scores and values: 2 x 2 FLOPs per head dimension, query token and context token."""
        flops = sum(2 * a.layers * a.heads * _score_dims(a) for a in self.facts.attention)
        peak = self.gpu.flops["bf16"] * self.kernels.prefill_attention
        return flops / peak / self.tp

    def _prefill_state_s(self) -> float:
        gdn = self.facts.linear_attention
        if gdn is None:
            return 0.0
        values = gdn.layers * gdn.state_values_per_layer
        return values * self.kernels.prefill_state_s_per_value / self.tp

    def _elementwise_s(self) -> float:
        moved = 2 * self.facts.layers * self.facts.hidden_size * self.kernels.elementwise_passes
        return moved / self.bandwidth

    def _collective_s(self) -> float:
        """Two all-reduces a layer, plus the gather of the logits."""
        if self.tp == 1:
            return 0.0
        return (2 * self.facts.layers + 1) * self.kernels.all_reduce_latency_s

    def _collective_s_per_token(self) -> float:
        if self.tp == 1:
            return 0.0
        moved = 2 * self.facts.layers * 2 * self.facts.hidden_size * 2 * (self.tp - 1) / self.tp
        return moved / (self.gpu.link_bytes_s * self.kernels.all_reduce)

    def _draft_s(self) -> float:
        """Each drafted token: launch the MTP layer, read it and the LM head."""
        head_bytes = 2.0 * self.facts.vocab_size * self.facts.hidden_size
        read_s = self._read_s(self.facts.mtp_linears) + head_bytes / self.bandwidth / self.tp
        return self.config.mtp_depth * (self.host.draft_launch_s + read_s)

    def _draft_s_per_sequence(self) -> float:
        row_s = self._head_s_per_row() + self._sample_s_per_row()
        return self.config.mtp_depth * (self._multiply_s(self.facts.mtp_linears) + row_s)


def _score_dims(attention: Attention) -> int:
    return attention.head_dim + attention.value_head_dim
