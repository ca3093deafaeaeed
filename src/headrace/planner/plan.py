"""The plan: what was chosen, what it should do, why, and what was turned down. `plan.json`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from headrace.spec.fleet import Fleet
from headrace.spec.slo import Metric


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Layout(_Part):
    """How the GPUs are cut into replicas."""

    tensor_parallel: int
    replicas: int
    gpus: int
    nodes: int
    replicas_per_node: int


class Percentiles(_Part):
    """One latency over all requests, in ms."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


class Prediction(_Part):
    """Steady state under the planned concurrency. Predicted, never measured.

    Throughput is of the whole fleet; `low` and `high` bound total tok/s.
    """

    total_tok_s: float
    total_tok_s_per_gpu: float
    output_tok_s: float
    request_s: float
    tpot_ms: float
    tpot_p99_ms: float
    ttft_ms: float
    ttft_p99_ms: float
    latency_ms: dict[Metric, Percentiles] = {}
    """TTFT, TPOT and the whole request, over the sampled requests of the workload; empty in plans
    from before there were any."""
    prefix_hit_rate: float = 0.0
    """Share of prompt tokens found in the prefix cache: stated, or of conversations worked out."""
    concurrency_per_replica: int
    usd_per_million_tokens: float | None
    low_total_tok_s: float
    high_total_tok_s: float


class MemoryBytes(_Part):
    """Where one GPU's memory goes."""

    weights: float
    kv_per_token: float
    state_per_sequence: float
    activations: float
    free: float
    """Left for the cache, after weights and activations."""


class Choice(_Part):
    """The chosen configuration."""

    layout: Layout
    engine_args: dict[str, Any]
    """vLLM options by their long name in snake case, ready for `engines.vllm`."""
    command: str
    """The shell command that starts one replica by hand."""
    prediction: Prediction
    memory_bytes: MemoryBytes
    bound_by: str
    why: list[str]
    max_running: int
    """Sequences that run at once in one replica: the smaller of memory and max_num_seqs."""


class ParetoPoint(_Part):
    """A configuration that no other beats in both throughput per GPU and TPOT."""

    total_tok_s_per_gpu: float
    tpot_ms: float
    config: dict[str, Any]


class Rejected(_Part):
    """A configuration that was turned down, and why."""

    config: dict[str, Any]
    reason: str


class CheckpointRow(_Part):
    """One checkpoint that the plan could choose. Figures are predicted; None where none runs."""

    model: str
    weights_dtype: str
    chosen: bool
    total_tok_s_per_gpu: float | None
    gain: float | None
    """Share gained over the file's `model`."""
    reason: str | None
    """Why it was left out of the choice."""
    caveat: str | None
    """What its number format does to accuracy, in words."""


class Plan(_Part):
    """`plan.json`."""

    headrace_version: str
    fleet: Fleet
    model: str
    parameters: int
    gpu: str
    usd_per_gpu_hour: float | None
    chosen: Choice
    stand_ins: dict[str, str] = {}
    """What will not be real when it runs, by what it replaces: `{"weights": "random, …"}`."""
    simulation: dict[str, Any]
    """A `ReplicaModel` (perf.replica): what the simulated engine and the simulator run on."""
    pareto: list[ParetoPoint]
    rejected: list[Rejected]
    checkpoints: list[CheckpointRow] = []
    """What `fleet.checkpoints` gave to choose from, `fleet.model` of the file first; the chosen one
    is `fleet.model` here."""
    searched: int
    elapsed_s: float
