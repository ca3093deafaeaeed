"""A model's step, operator by operator, in seconds that the tables of kernels give.

GEMMs come from measured latencies by shape, everything else from a roofline with measured
efficiencies: experts that tokens were routed to, the LM head and sampling over the vocabulary,
cache and state traffic, prefill attention, element-wise work, collectives. Nothing here was fitted;
`assemble` adds what was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headrace.hardware.gpu import ComputeDtype, Gpu
from headrace.models.facts import KV_BYTES, STATE_BYTES, Attention, Linear, ModelFacts
from headrace.perf.attention_kernels import AttentionKernel, attention_kernel
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Kernels
from headrace.perf.gemm import Floats, gemm_seconds, has_gemm
from headrace.perf.kernels import TOKENS, AllReduce, Curve, GpuTables, load_tables
from headrace.perf.memory import WEIGHT_BYTES, kv_split, linear_bytes


@dataclass(frozen=True)
class Format:
    """How a weight format is multiplied: its kernel table and the tensor-core dtype it uses."""

    table: str
    compute: ComputeDtype


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
TABLES: dict[str, tuple[float, ComputeDtype]] = {
    "bf16": (2.0, "bf16"),
    "fp8": (1.0, "fp8"),
    "fp8_block": (1.0, "fp8"),
    "nvfp4": (0.5625, "fp4"),
}
"""Bytes per weight and tensor cores of the tables in `gemm.npz`."""
FALLBACKS = {"fp8_block": "fp8", "fp8": "fp8_block"}
TOKEN_GRID: Floats = np.array(TOKENS)
DATA_SHEET_LATENCY_S = 9e-6
DATA_SHEET_SHARE = 0.22
"""An all-reduce that was not measured: latency, and the share of the link that an H200 gets."""


@dataclass(frozen=True)
class Operators:
    """Seconds of one replica's operators. Arrays are over the token counts of `TOKENS`."""

    gemm_s: Floats
    gemms: float
    """Launches of dense GEMMs in a step."""
    moe_s: Floats
    moe_launch_s: float
    head_s: Floats
    sample_s_per_row: float
    attention_s: float
    attention_s_per_context_token: float
    attention_waves_per_sequence: float
    state_s_per_sequence: float
    prefill_attention_s_per_context_token: float
    prefill_state_s_per_token: float
    elementwise_s_per_token: float
    all_reduces: float
    all_reduce_latency_s: float
    all_reduce_s_per_token: float
    """Of all of a step's all-reduces."""
    draft_s: Floats
    """One pass through the MTP layers and the LM head."""


def count(facts: ModelFacts, gpu: Gpu, config: EngineConfig, kernels: Kernels) -> Operators:
    """The operators of one replica. Works for every family: absent parts cost nothing."""
    return _Counter(facts, gpu, config, kernels).operators()


class _Counter:
    """One model on one GPU type under one configuration."""

    def __init__(self, facts: ModelFacts, gpu: Gpu, config: EngineConfig, kernels: Kernels) -> None:
        self.facts, self.gpu, self.config, self.kernels = facts, gpu, config, kernels
        self.tp = config.tensor_parallel
        self.tables: GpuTables = load_tables()[kernels.tables]
        self.bandwidth = gpu.bandwidth_bytes_s * kernels.bandwidth

    def operators(self) -> Operators:
        dense = [x for x in self.facts.linears if not _routed(x)]
        routed = [x for x in self.facts.linears if _routed(x)]
        all_reduce = self._all_reduce() if self.tp > 1 else None
        moved = 2 * self.facts.layers * 2 * self.facts.hidden_size
        return Operators(
            gemm_s=_total(self._dense_s(x) for x in dense),
            gemms=sum(x.count for x in dense),
            moe_s=_total(self._experts_s(x) for x in routed),
            moe_launch_s=sum(self._experts_launch_s(x) for x in routed),
            head_s=self._head_s(),
            sample_s_per_row=self._sample_s_per_row(),
            attention_s=self._attention_launch_s(),
            attention_s_per_context_token=self._attention_s(),
            attention_waves_per_sequence=self._attention_waves(),
            state_s_per_sequence=self._state_s(),
            prefill_attention_s_per_context_token=self._prefill_attention_s(),
            prefill_state_s_per_token=self._prefill_state_s(),
            elementwise_s_per_token=self._elementwise_s(),
            all_reduces=2 * self.facts.layers + 1 if all_reduce else 0,
            all_reduce_latency_s=all_reduce.latency_s if all_reduce else 0.0,
            all_reduce_s_per_token=moved / all_reduce.bytes_s if all_reduce else 0.0,
            draft_s=_total(map(self._linear_s, self.facts.mtp_linears)) + self._head_s(),
        )

    def _linear_s(self, linear: Linear) -> Floats:
        return self._experts_s(linear) if _routed(linear) else self._dense_s(linear)

    def _dense_s(self, linear: Linear) -> Floats:
        """`count` GEMMs of the shape that tensor parallelism leaves on one GPU."""
        n = linear.n / (self.tp if linear.split == "n" else 1)
        k = linear.k / (self.tp if linear.split == "k" else 1)
        weights = self.facts.weights_dtype if linear.quantized else "bf16"
        return linear.count * self._gemm_s(weights, n, k)

    def _gemm_s(self, weights: str, n: float, k: float) -> Floats:
        """One GEMM, from the table of its format; a GPU without a table of its own, or a format
        that is widened on the way, takes the nearest table's efficiency.
        """
        table, compute = self._table(weights)
        if not has_gemm(self.kernels.tables, table):
            return self._curve_s(self.tables.gemm["bf16"], weights, compute, n * k)
        seconds = gemm_seconds(self.kernels.tables, table, n, k)
        width, peak = TABLES[table]
        measured = _roofline_s(self.tables.bandwidth_bytes_s, self.tables.flops[peak], width, n * k)
        return seconds * self._own_s(weights, compute, n * k) / measured

    def _own_s(self, weights: str, compute: ComputeDtype, size: float) -> Floats:
        """The GPU's own roofline for `size` weights."""
        bandwidth, flops = self.gpu.bandwidth_bytes_s, self.gpu.flops[compute]
        return _roofline_s(bandwidth, flops, WEIGHT_BYTES[weights], size)

    def _table(self, weights: str) -> tuple[str, ComputeDtype]:
        """The format's table and tensor cores, or those of 16 bit where the GPU has neither."""
        wanted = FORMATS[weights]
        for table in (wanted.table, FALLBACKS.get(wanted.table, "bf16")):
            if wanted.compute in self.gpu.flops and has_gemm(self.kernels.tables, table):
                return table, wanted.compute
        return "bf16", "bf16"

    def _curve_s(self, curve: Curve, weights: str, compute: ComputeDtype, size: float) -> Floats:
        efficiency = np.array([curve.at(index) for index in range(len(TOKENS))])
        return np.asarray(self._own_s(weights, compute, size) / efficiency + curve.launch_s)

    def _experts_s(self, linear: Linear) -> Floats:
        """Routed experts of all layers: only those that some token was routed to are read."""
        curve, peak = self._experts_curve(linear)
        experts = self.facts.experts
        assert experts is not None
        touched = 1 - np.power(1 - experts.active / experts.total, TOKEN_GRID)
        read_s = touched * linear_bytes(linear, self.facts) / self.gpu.bandwidth_bytes_s
        multiply_s = 2 * TOKEN_GRID * linear.active_parameters / peak
        efficiency = np.array([curve.at(index) for index in range(len(TOKENS))])
        return np.asarray(np.maximum(read_s, multiply_s) / efficiency / self.tp)

    def _experts_launch_s(self, linear: Linear) -> float:
        """One fused kernel covers a layer's gate-up and down."""
        experts = self.facts.experts
        assert experts is not None
        entries = sum(_routed(x) for x in self.facts.linears)
        return linear.count / experts.active / entries * self._experts_curve(linear)[0].launch_s

    def _experts_curve(self, linear: Linear) -> tuple[Curve, float]:
        tables = load_tables()[self.kernels.moe_tables or self.kernels.tables].moe
        wanted = FORMATS[self.facts.weights_dtype if linear.quantized else "bf16"]
        table = "fp8_block" if wanted.table == "fp8" else wanted.table
        if wanted.compute in self.gpu.flops and table in tables:
            return tables[table], self.gpu.flops[wanted.compute]
        return tables["bf16"], self.gpu.flops["bf16"]

    def _head_s(self) -> Floats:
        """The LM head is kept in 16 bit and split over the vocabulary."""
        return self._gemm_s("bf16", self.facts.vocab_size / self.tp, self.facts.hidden_size)

    def _sample_s_per_row(self) -> float:
        """Softmax, penalties and argmax over float32 logits, several passes each."""
        return 4 * self.facts.vocab_size * self.kernels.sample_passes / self.bandwidth / self.tp

    def _attention_s(self) -> float:
        """Seconds to read one token's cache entry over all attention layers."""
        width = KV_BYTES[self.config.kv_dtype]
        values = sum(
            a.kv_values_per_token / kv_split(a.kv_heads, a.latent_dim, self.tp)
            for a in self.facts.attention
            if a.window_tokens is None
        )
        return width * values / (self.gpu.bandwidth_bytes_s * self._attention_bandwidth())

    @cached_property
    def _attention_kernel(self) -> AttentionKernel | None:
        return attention_kernel(self.facts, self.gpu.name, self.config)

    def _attention_launch_s(self) -> float:
        """Of all attention layers, whatever they read."""
        kernel = self._attention_kernel
        return kernel.launch_s * sum(a.layers for a in self.facts.attention) if kernel else 0.0

    def _attention_bandwidth(self) -> float:
        """Share of the GPU's at which decode steps read the cache."""
        if self._attention_kernel is not None:
            return self._attention_kernel.bandwidth
        tables = self.tables.decode_attention
        return tables.get(self.config.kv_dtype, tables["bf16"]).at(0)

    def _attention_waves(self) -> float:
        """Share of the GPU's processors that one sequence's heads take; 0 where it is no matter."""
        kernel = self._attention_kernel
        if kernel is None or kernel.processors is None:
            return 0.0
        most = max(self.facts.attention, key=lambda each: each.layers)
        return most.kv_heads / kv_split(most.kv_heads, most.latent_dim, self.tp) / kernel.processors

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
        s_per_value = self.kernels.prefill_state_flashinfer_s_per_value
        if s_per_value is None or self.config.gdn_prefill_backend == "triton":
            s_per_value = self.kernels.prefill_state_s_per_value
        return values * s_per_value / self.tp

    def _elementwise_s(self) -> float:
        moved = 2 * self.facts.layers * self.facts.hidden_size * self.kernels.elementwise_passes
        return moved / self.bandwidth

    def _all_reduce(self) -> AllReduce:
        """Measured where it was; elsewhere the link's data sheet, at the H200's share of it."""
        tables = self.tables.all_reduce
        measured = tables.get(str(self.tp)) or tables.get("8")
        if measured is not None and self.gpu.name == self.kernels.tables:
            return measured
        return AllReduce(
            latency_s=DATA_SHEET_LATENCY_S,
            bytes_s=DATA_SHEET_SHARE * self.gpu.link_bytes_s,
            source="data sheet",
        )


def _roofline_s(bandwidth: float, flops: float, width: float, size: float) -> Floats:
    """The slower of reading `size` weights of `width` bytes and multiplying with them."""
    return np.maximum(width * size / bandwidth, 2 * TOKEN_GRID * size / flops)


def _total(seconds: Iterable[Floats]) -> Floats:
    return sum(seconds, start=np.zeros(len(TOKENS)))


def _routed(linear: Linear) -> bool:
    return linear.stored > linear.count


def _score_dims(attention: Attention) -> int:
    return attention.head_dim + attention.value_head_dim
