"""One candidate, judged: does it run, does it fit, what will it do, does it keep the SLO."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.assemble import step_model
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Constants
from headrace.perf.memory import MemoryPlan, plan_memory
from headrace.perf.steady import Load, SteadyState, steady_state
from headrace.perf.step import StepModel
from headrace.planner.rules import broken_rule
from headrace.spec.fleet import Fleet


@dataclass(frozen=True)
class Candidate:
    """A configuration that runs, with its memory and its steady state in one replica."""

    config: EngineConfig
    replicas: int
    memory: MemoryPlan
    running: int
    concurrency: int
    steady: SteadyState
    total_tok_s: float
    """Of the whole fleet, scaling losses included."""

    @property
    def total_tok_s_per_gpu(self) -> float:
        """Throughput over the GPUs in use."""
        return self.total_tok_s / (self.replicas * self.config.tensor_parallel)


@dataclass(frozen=True)
class Refusal:
    """A configuration that is turned down. `candidate` is set when it runs but misses a goal."""

    config: EngineConfig
    reason: str
    candidate: Candidate | None = None


class Evaluator:
    """Judges configurations of one fleet. Step models are kept: few levers change them."""

    def __init__(self, fleet: Fleet, facts: ModelFacts, gpu: Gpu, constants: Constants) -> None:
        self.fleet, self.facts, self.gpu, self.constants = fleet, facts, gpu, constants
        self._steps: dict[tuple[object, ...], StepModel] = {}
        self.needed_tokens = fleet.workload.input_tokens + fleet.workload.output_tokens

    def step_model(self, config: EngineConfig) -> StepModel:
        """The step model of a configuration."""
        levers = (config.tensor_parallel, config.kv_dtype, config.state_dtype, config.mtp_depth)
        key = (config.version, *levers)
        if key not in self._steps:
            self._steps[key] = step_model(self.facts, self.gpu, config, self.constants)
        return self._steps[key]

    def judge(self, config: EngineConfig, concurrency: int | None = None) -> Candidate | Refusal:
        """The configuration's steady state, or why it is turned down.

        `concurrency`, of one replica, is used instead of the workload's where it is given.
        """
        rule = broken_rule(self.facts, self.gpu, config)
        if rule is not None:
            return Refusal(config, f"{rule.reason} ({rule.source})")
        if config.max_model_len < self.needed_tokens:
            return Refusal(config, _too_short(config, self.needed_tokens))
        memory = plan_memory(self.facts, self.gpu, config, self.constants.memory)
        running = min(config.max_num_seqs, memory.sequences(self.needed_tokens))
        if running == 0:
            return Refusal(config, _does_not_fit(memory, self.gpu, config))
        candidate = self._candidate(config, memory, running, concurrency)
        missed = self._missed_goal(candidate)
        return Refusal(config, missed, candidate) if missed else candidate

    def _candidate(
        self, config: EngineConfig, memory: MemoryPlan, running: int, given: int | None
    ) -> Candidate:
        hardware = self.fleet.hardware
        replicas = hardware.nodes * (hardware.gpus_per_node // config.tensor_parallel)
        concurrency = given or self._concurrency(config, replicas, running)
        steady = self._steady(config, concurrency, running)
        tokens = steady.request_s * self.needed_tokens
        loss = self.constants.scaling.loss_per_doubling * math.log2(hardware.nodes)
        total = tokens * replicas * (1 - loss)
        return Candidate(config, replicas, memory, running, concurrency, steady, total)

    def _concurrency(self, config: EngineConfig, replicas: int, running: int) -> int:
        """Requests in flight per replica: stated, what a stated rate needs, or all that run."""
        workload = self.fleet.workload
        if workload.request_rate is not None:
            return self._concurrency_for(config, workload.request_rate / replicas, running)
        if workload.concurrency == "auto":
            return running
        return max(1, round(workload.concurrency / replicas))

    def _concurrency_for(self, config: EngineConfig, request_s: float, running: int) -> int:
        """The fewest requests in flight that reach a rate (Little), or `running` if none does."""
        low, high = 1, running
        while low < high:
            middle = (low + high) // 2
            if self._steady(config, middle, running).request_s < request_s:
                low = middle + 1
            else:
                high = middle
        return low

    def _steady(self, config: EngineConfig, concurrency: int, running: int) -> SteadyState:
        return steady_state(
            self.step_model(config),
            load_of(self.fleet, config),
            concurrency,
            running,
            config.max_num_batched_tokens,
        )

    def _missed_goal(self, candidate: Candidate) -> str | None:
        slo, steady = self.fleet.slo, candidate.steady
        if slo.tpot_p99_ms is not None and steady.tpot_p99_s * 1e3 > slo.tpot_p99_ms:
            return (
                f"TPOT p99 {steady.tpot_p99_s * 1e3:.0f} ms misses the SLO of {slo.tpot_p99_ms:g}"
            )
        if slo.ttft_p99_ms is not None and steady.ttft_p99_s * 1e3 > slo.ttft_p99_ms:
            return (
                f"TTFT p99 {steady.ttft_p99_s * 1e3:.0f} ms misses the SLO of {slo.ttft_p99_ms:g}"
            )
        rate = self.fleet.workload.request_rate
        if rate is not None and steady.request_s * candidate.replicas < 0.999 * rate:
            return f"reaches {steady.request_s * candidate.replicas:.1f} of {rate:g} requests/s"
        return None


def load_of(fleet: Fleet, config: EngineConfig) -> Load:
    """The workload as one replica sees it."""
    workload = fleet.workload
    return Load(
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        prefix_hit_rate=workload.prefix_hit_rate if config.prefix_caching else 0.0,
        acceptance=workload.acceptance.get("mtp", 0.0) if config.mtp_depth else 0.0,
        mtp_depth=config.mtp_depth,
    )


def trimmed(candidate: Candidate) -> EngineConfig:
    """The configuration with max_num_seqs lowered to what runs, in eights.

    Slots that memory cannot fill only cost activation memory and CUDA graphs.
    """
    if candidate.config.max_num_seqs - candidate.running < 8:
        return candidate.config
    return replace(candidate.config, max_num_seqs=max(8, candidate.running // 8 * 8))


def _too_short(config: EngineConfig, needed_tokens: int) -> str:
    return f"max_model_len {config.max_model_len} is shorter than a request of {needed_tokens}"


def _does_not_fit(memory: MemoryPlan, gpu: Gpu, config: EngineConfig) -> str:
    gib = 2**30
    left = max(0.0, memory.free_bytes) / gib
    return (
        f"does not fit: weights {memory.weights_bytes / gib:.1f} GiB and activations "
        f"{memory.activations_bytes / gib:.1f} GiB leave {left:.1f} GiB "
        f"of {gpu.memory_bytes / gib:.0f} GiB for the cache at "
        f"gpu_memory_utilization {config.gpu_memory_utilization:g}"
    )
