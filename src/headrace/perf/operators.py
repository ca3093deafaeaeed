"""From a model, a GPU and engine settings to the coefficients of the step time.

A roofline by operator: GEMMs by dtype with a bandwidth floor, the LM head and sampling over the
vocabulary, cache and state traffic, prefill attention, element-wise work, collectives, drafting
and the host. Kernel efficiencies come from `kernels.toml`, the rest from `constants.toml`, each
with its source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from headrace.hardware.gpu import ComputeDtype, Gpu
from headrace.models.facts import KV_BYTES, STATE_BYTES, Attention, Linear, ModelFacts
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Constants, Host, Kernels, Step
from headrace.perf.kernels import TOKENS, AllReduce, Curve, GpuTables, load_tables
from headrace.perf.memory import kv_split, linear_bytes
from headrace.perf.step import StepModel


@dataclass(frozen=True)
class Format:
    """How a weight format is multiplied: its kernel table and the tensor-core dtype it uses."""

    table: str
    compute: ComputeDtype


LARGE_TOKENS = 512

FORMATS: dict[str, Format] = {
    "bf16": Format("bf16", "bf16"),
    "fp16": Format("bf16", "bf16"),
    "fp8_block": Format("fp8_block", "fp8"),
    "fp8_channel": Format("fp8", "fp8"),
    "fp8_tensor": Format("fp8", "fp8"),
    "int8": Format("fp8", "int8"),
    "nvfp4": Format("nvfp4", "fp4"),
    "mxfp4": Format("mxfp4", "bf16"),
    "int4": Format("bf16", "bf16"),
}
"""MXFP4 experts run with 16-bit activations in vLLM on Hopper; INT4 is weight-only everywhere."""


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
        self.kernels: Kernels = constants.kernels_of(gpu)
        self.tables: GpuTables = load_tables()[self.kernels.tables]
        self.host: Host = constants.host_of(config.version, facts.family, gpu.name)
        self.overheads: Step = constants.step
        self.bandwidth = gpu.bandwidth_bytes_s * self.kernels.bandwidth

    def step_model(self) -> StepModel:
        kappa = self.host.kappa
        head = [self._head(index) for index in range(len(TOKENS))]
        gemm = [self._linears(self.facts.linears, index) for index in range(len(TOKENS))]
        return StepModel(
            verified=1 + self.config.mtp_depth,
            grid=TOKENS,
            gemm_s=tuple(kappa * s for s in gemm),
            head_s=tuple(kappa * s for s in head),
            sample_s_per_row=kappa * self._sample_s_per_row(),
            attention_s=kappa * self._attention_launch_s(),
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

    def _linears(self, linears: tuple[Linear, ...], index: int) -> float:
        """Seconds of all matrices for TOKENS[index] tokens."""
        return sum(
            self._experts_s(x, index) if x.stored > x.count else self._dense_s(x, index)
            for x in linears
        )

    def _dense_s(self, linear: Linear, index: int) -> float:
        """`count` GEMMs: each the slower of reading its weights and multiplying, and a launch."""
        curve, peak, share = self._curve(linear, self.tables.gemm)
        read_s = linear_bytes(linear, self.facts) / self.gpu.bandwidth_bytes_s
        multiply_s = 2 * TOKENS[index] * linear.active_parameters / peak
        work_s = max(read_s, multiply_s) / curve.at(index) / share / self.tp
        launch_s = linear.count * curve.launch_s * self.overheads.gemm_launches
        return self._large(index) * work_s + launch_s

    def _large(self, index: int) -> float:
        return self.overheads.large_gemm if TOKENS[index] >= LARGE_TOKENS else 1.0

    def _experts_s(self, linear: Linear, index: int) -> float:
        """Routed experts of all layers: only those that some token was routed to are read."""
        curve, peak, share = self._curve(linear, self.tables.moe)
        experts = self.facts.experts
        assert experts is not None
        touched = 1 - math.pow(1 - experts.active / experts.total, TOKENS[index])
        read_s = touched * linear_bytes(linear, self.facts) / self.gpu.bandwidth_bytes_s
        multiply_s = 2 * TOKENS[index] * linear.active_parameters / peak
        launches = linear.count / experts.active / self._expert_matrices()
        work_s = max(read_s, multiply_s) / curve.at(index) / share / self.tp
        return self._large(index) * work_s + launches * curve.launch_s

    def _expert_matrices(self) -> int:
        """Entries of routed experts (gate-up and down): one fused kernel covers them."""
        return sum(x.stored > x.count for x in self.facts.linears)

    def _curve(self, linear: Linear, tables: dict[str, Curve]) -> tuple[Curve, float, float]:
        """The kernel table, the peak FLOP/s and a share of the table's speed for a matrix.

        Where the GPU lacks the format's tensor cores, or no table has it, weights are widened to
        16 bit on the way and multiply at that rate.
        """
        wanted = FORMATS[self.facts.weights_dtype if linear.quantized else "bf16"]
        peak = self.gpu.flops.get(wanted.compute)
        share = 1.0
        table = wanted.table
        if table == "fp8_block" and self.kernels.fp8_block_of_fp8 and tables is self.tables.gemm:
            table, share = "fp8", self.kernels.fp8_block_of_fp8
        if table == "fp8" and table not in tables:
            table = "fp8_block"
        if peak is None or table not in tables:
            return tables["bf16"], self.gpu.flops["bf16"], 1.0
        return tables[table], peak, share

    def _head(self, index: int) -> float:
        """The LM head is kept in 16 bit and split over the vocabulary."""
        curve = self.tables.gemm["bf16"]
        values = self.facts.vocab_size * self.facts.hidden_size
        read_s = 2.0 * values / self.gpu.bandwidth_bytes_s
        multiply_s = 2 * TOKENS[index] * values / self.gpu.flops["bf16"]
        return max(read_s, multiply_s) / curve.at(index) / self.tp + curve.launch_s

    def _sample_s_per_row(self) -> float:
        """Softmax, penalties and argmax over float32 logits, several passes each."""
        return 4 * self.facts.vocab_size * self.kernels.sample_passes / self.bandwidth / self.tp

    def _attention_launch_s(self) -> float:
        curve = self._decode_attention()
        layers = sum(a.layers for a in self.facts.attention)
        return layers * curve.launch_s * self.overheads.attention_launches

    def _attention_s(self) -> float:
        """Seconds to read one token's cache entry over all attention layers."""
        width = KV_BYTES[self.config.kv_dtype]
        values = sum(
            a.kv_values_per_token / kv_split(a.kv_heads, a.latent_dim, self.tp)
            for a in self.facts.attention
            if a.window_tokens is None
        )
        bandwidth = self.gpu.bandwidth_bytes_s * self._decode_attention().at(0)
        return width * values / bandwidth

    def _decode_attention(self) -> Curve:
        tables = self.tables.decode_attention
        return tables.get(self.config.kv_dtype, tables["bf16"])

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
        peak = self.gpu.flops["bf16"] * self.tables.prefill_attention.at(0)
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
        each_s = self._all_reduce().latency_s + self.overheads.all_reduce_extra_s
        return (2 * self.facts.layers + 1) * each_s

    def _collective_s_per_token(self) -> float:
        if self.tp == 1:
            return 0.0
        moved = 2 * self.facts.layers * 2 * self.facts.hidden_size
        return moved / self._all_reduce().bytes_s * self.overheads.all_reduce_bytes

    def _all_reduce(self) -> AllReduce:
        """Measured where it was; elsewhere the link's data sheet, at the H200's share of it."""
        tables = self.tables.all_reduce
        measured = tables.get(str(self.tp)) or tables.get("8")
        if measured is not None and self.gpu.name == self.kernels.tables:
            return measured
        return AllReduce(latency_s=9e-6, bytes_s=0.22 * self.gpu.link_bytes_s, source="data sheet")

    def _draft_s(self) -> float:
        """Each drafted token: launch the MTP layer, read it and the LM head."""
        read_s = self._linears(self.facts.mtp_linears, 0) + self._head(0)
        return self.config.mtp_depth * (self.host.draft_launch_s + read_s)

    def _draft_s_per_sequence(self) -> float:
        """What a drafted token costs beyond the first: the slope of the curves at their end."""
        last, before = len(TOKENS) - 1, len(TOKENS) - 2
        tokens = TOKENS[last] - TOKENS[before]
        linears = self.facts.mtp_linears
        slope_s = self._linears(linears, last) - self._linears(linears, before)
        head_s = self._head(last) - self._head(before)
        return self.config.mtp_depth * ((slope_s + head_s) / tokens + self._sample_s_per_row())


def _score_dims(attention: Attention) -> int:
    return attention.head_dim + attention.value_head_dim
