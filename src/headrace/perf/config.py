"""The engine settings on which memory and step time depend: one point of the search."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.models.facts import KvDtype, StateDtype


@dataclass(frozen=True)
class EngineConfig:
    """One replica's settings, in Headrace's terms; `engines.vllm.args` turns them into flags."""

    version: str
    tensor_parallel: int
    kv_dtype: KvDtype
    state_dtype: StateDtype
    mtp_depth: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    gpu_memory_utilization: float = 0.92
    stream_interval: int = 1
    prefix_caching: bool = False
    text_only: bool = True
    async_scheduling: bool = True
    captured: tuple[int, ...] = ()
    """Token counts to capture CUDA graphs for; empty: vLLM's own."""
    max_captured: int | None = None
    """The largest of vLLM's own; None: as vLLM derives it."""
    cover_decode: bool = False
    """The plan's flags raise it to the fullest decode step where vLLM's own ends below."""
    enforce_eager: bool = False
    attention_backend: str = "auto"
    """Whose kernel reads the cache in decode steps, by vLLM's names; auto: vLLM's own choice."""
    gdn_prefill_backend: str = "auto"
    """Whose kernel computes the recurrent states of prompts; auto: FlashInfer's on Hopper."""
    linear_backend: str = "auto"
    """Whose kernels multiply matrices, by vLLM's names; auto: the first that can, by its list."""
    dummy_weights: bool = False
    """Whether the engine makes its weights up, near zero, instead of loading a checkpoint's."""
    deep_gemm: bool = True
    """Whether DeepGEMM may multiply blocks of FP8, which it compiles for as it starts."""
