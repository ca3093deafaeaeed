"""One candidate, judged: does it run, does it fit, what will it do, does it keep the SLO."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from headrace.engines.vllm import args as vllm_args
from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.assemble import step_model
from headrace.perf.calibration import Calibration
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Constants
from headrace.perf.graphs import captured_tokens
from headrace.perf.memory import MemoryPlan, plan_memory
from headrace.perf.refill import Refill
from headrace.perf.steady import Load, SteadyState, steady_state
from headrace.perf.step import StepModel
from headrace.planner.arrive import refill_of
from headrace.planner.demand import Demand, Floats
from headrace.planner.latency import Latencies, Serving, missed
from headrace.planner.rules import broken_rule
from headrace.spec.fleet import Fleet

KEPT_STEPS = 64
"""The share of conversations that are still cached is told apart in so many steps."""
ROUNDS = 8
KEEPS_HOME = ("affinity", "prefix-affinity")
"""Gateway policies that send prompts with the same beginning to the same replica."""


@dataclass(frozen=True)
class Candidate:
    """A configuration that runs, with its memory and its steady state in one replica."""

    config: EngineConfig
    replicas: int
    memory: MemoryPlan
    running: int
    concurrency: int
    serving: Serving
    total_tok_s: float
    """Of the whole fleet, scaling losses included."""

    @property
    def steady(self) -> SteadyState:
        """One replica's steady state."""
        return self.serving.steady

    @property
    def gpus(self) -> int:
        """GPUs in use."""
        return self.replicas * self.config.tensor_parallel

    @property
    def total_tok_s_per_gpu(self) -> float:
        """Throughput over the GPUs in use."""
        return self.total_tok_s / self.gpus


@dataclass(frozen=True)
class Refusal:
    """A configuration that is turned down. `candidate` is set when it runs but misses a goal."""

    config: EngineConfig
    reason: str
    candidate: Candidate | None = None


class Evaluator:
    """Judges configurations of one fleet. What several of them share is worked out once."""

    def __init__(self, fleet: Fleet, facts: ModelFacts, gpu: Gpu, constants: Constants) -> None:
        self.fleet, self.facts, self.gpu, self.constants = fleet, facts, gpu, constants
        self.demand = Demand(fleet.workload)
        self.goals = fleet.slo.goals()
        self.request_s = self.demand.request_s
        self._kernels: dict[object, StepModel] = {}
        self._steps: dict[object, StepModel] = {}
        self._rules: dict[object, str | None] = {}
        self._memory: dict[object, MemoryPlan] = {}
        self._held: dict[object, int] = {}
        self._states: dict[object, Serving] = {}
        self._loads: dict[object, tuple[Floats, Load]] = {}
        self._missed: dict[int, str | None] = {}

    @cached_property
    def calibration(self) -> Calibration:
        """What every prediction rests on. Raises LookupError where none covers the fleet."""
        engine = self.fleet.engine
        return self.constants.calibration_of(
            engine.version, self.facts, self.gpu, **vllm_args.of_environment(engine.env)
        )

    def step_model(self, config: EngineConfig) -> StepModel:
        """The step model of a configuration."""
        captured = captured_tokens(config)
        key = (_kernels(config), captured)
        if key not in self._steps:
            whole = self._kernel_times(config)
            self._steps[key] = replace(whole, captured=captured)
        return self._steps[key]

    def _kernel_times(self, config: EngineConfig) -> StepModel:
        key = _kernels(config)
        if key not in self._kernels:
            self._kernels[key] = step_model(self.facts, self.gpu, config, self.constants)
        return self._kernels[key]

    def judge(
        self, config: EngineConfig, concurrency: int | None = None, replicas: int | None = None
    ) -> Candidate | Refusal:
        """The configuration's steady state, or why it is turned down.

        `concurrency`, of one replica, is used instead of the workload's where it is given, and
        `replicas` instead of as many as the fleet's GPUs hold.
        """
        broken = self._broken(config)
        if broken is not None:
            return Refusal(config, broken)
        if config.max_model_len < self.demand.longest_tokens:
            return Refusal(config, _too_short(config, self.demand.longest_tokens))
        memory = self.memory(config)
        running = min(config.max_num_seqs, self.sequences(config))
        if running == 0:
            return Refusal(config, _does_not_fit(memory, self.gpu, config))
        candidate = self._candidate(config, memory, running, concurrency, replicas)
        missed = self._missed_goal(candidate)
        return Refusal(config, missed, candidate) if missed else candidate

    def _broken(self, config: EngineConfig) -> str | None:
        key = _kernels(config)
        if key not in self._rules:
            rule = broken_rule(self.facts, self.gpu, config)
            self._rules[key] = f"{rule.reason} ({rule.source})" if rule else None
        return self._rules[key]

    def memory(self, config: EngineConfig) -> MemoryPlan:
        """Where a GPU's memory goes; max_model_len has no part in it."""
        key = _room(config)
        if key not in self._memory:
            self._memory[key] = plan_memory(self.facts, self.gpu, config, self.constants.memory)
        return self._memory[key]

    def sequences(self, config: EngineConfig) -> int:
        """Requests of the workload that the cache holds at once."""
        key = (_room(config), config.prefix_caching)
        if key not in self._held:
            cache = self.memory(config).cache
            self._held[key] = self.demand.sequences(cache, shared=config.prefix_caching)
        return self._held[key]

    def _candidate(
        self,
        config: EngineConfig,
        memory: MemoryPlan,
        running: int,
        given: int | None,
        replicas: int | None,
    ) -> Candidate:
        hardware = self.fleet.hardware
        per_node = hardware.gpus_per_node // config.tensor_parallel
        replicas = replicas or hardware.nodes * per_node
        kept = 1 - self.loss(-(-replicas // per_node))
        concurrency = given or self._concurrency(config, replicas, kept, running)
        serving = self.serving(config, concurrency, running, replicas)
        total = serving.steady.request_s * self.demand.tokens * replicas * kept
        return Candidate(config, replicas, memory, running, concurrency, serving, total)

    def loss(self, nodes: int) -> float:
        """Share of the throughput that so many nodes lose to each other."""
        return self.constants.scaling.loss_per_doubling * math.log2(nodes)

    def _concurrency(self, config: EngineConfig, replicas: int, kept: float, running: int) -> int:
        """Requests in flight per replica: stated, what a stated rate needs, or all that run."""
        workload = self.fleet.workload
        if self.request_s is not None:
            request_s = self.request_s / (replicas * kept)
            return self.concurrency_for(config, request_s, running, replicas)
        if workload.concurrency == "auto":
            return running
        return max(1, round(workload.concurrency / (replicas * kept)))

    def concurrency_for(
        self, config: EngineConfig, request_s: float, running: int, replicas: int
    ) -> int:
        """The fewest requests in flight that reach a rate (Little), or `running` if none does."""
        low, high = 1, running
        while low < high:
            middle = (low + high) // 2
            if self.serving(config, middle, running, replicas).steady.request_s < request_s:
                low = middle + 1
            else:
                high = middle
        return low

    def serving(
        self,
        config: EngineConfig,
        concurrency: int,
        running: int,
        replicas: int,
        refill: Refill | None = None,
    ) -> Serving:
        """The steady state of one of `replicas`, and what its prefix cache finds in it.

        `refill`, of one replica, is used instead of the fleet's where it is given.
        """
        refill = refill or refill_of(self.fleet, replicas)
        key: tuple[object, ...] = (
            *_kernels(config),
            captured_tokens(config),
            config.max_num_batched_tokens,
            concurrency,
            running,
            refill,
        )
        if self.demand.hits_follow:
            key = (*key, _room(config), config.prefix_caching, replicas)
        if key not in self._states:
            self._states[key] = self._serving(config, concurrency, running, replicas, refill)
        return self._states[key]

    def _serving(
        self, config: EngineConfig, concurrency: int, running: int, replicas: int, refill: Refill
    ) -> Serving:
        """Hits make room, and room makes hits: the share that makes itself, by secants."""
        model, tokens = self.step_model(config), config.max_num_batched_tokens
        ahead = self.calibration.decided(config.async_scheduling)
        page = self.memory(config).cache.page_tokens if self.demand.hits_follow else 0

        def with_hits(kept: float) -> Serving:
            found, load = self._load(config, page, kept)
            steady = steady_state(model, load, concurrency, running, tokens, ahead, refill)
            return Serving(steady, load, found, kept)

        serving = with_hits(1.0)
        if not self.demand.hits_follow or not config.prefix_caching:
            return serving
        cache, batch = self.memory(config).cache, min(concurrency, running)
        at_home = self.at_home(replicas)
        before: tuple[float, float] | None = None
        for _ in range(ROUNDS):
            share = serving.kept
            over = self.demand.kept(cache, serving, batch, replicas, at_home) - share
            slope = (over - before[1]) / (share - before[0]) if before else -1.0
            aim = share - over / min(slope, -0.5)
            rounded = round(min(1.0, max(0.0, aim)) * KEPT_STEPS) / KEPT_STEPS
            if rounded == share:
                break
            before = share, over
            serving = with_hits(rounded)
        return serving

    def at_home(self, replicas: int) -> float:
        """Share of following prompts that the gateway sends to where the one before them went."""
        return 1.0 if self.fleet.gateway.policy in KEEPS_HOME else 1 / replicas

    def _load(self, config: EngineConfig, page: int, kept: float) -> tuple[Floats, Load]:
        """Cached tokens of every request, and the load that they leave."""
        workload = self.fleet.workload
        key = (page, kept, config.prefix_caching, config.mtp_depth)
        if key not in self._loads:
            found = self.demand.hits(page, kept) if config.prefix_caching else self.demand.no_hits
            acceptance = workload.acceptance.get("mtp", 0.0) if config.mtp_depth else 0.0
            self._loads[key] = found, self.demand.load(found, acceptance, config.mtp_depth)
        return self._loads[key]

    def _missed_goal(self, candidate: Candidate) -> str | None:
        """The first goal that is missed; many candidates share a steady state."""
        key = id(candidate.serving)
        if key not in self._missed:
            self._missed[key] = (
                missed(self.goals, self.latencies(candidate)) if self.goals else None
            )
        if self._missed[key]:
            return self._missed[key]
        rate, reached = self.request_s, candidate.total_tok_s / self.demand.tokens
        if rate is not None and reached < 0.999 * rate:
            return f"reaches {reached:.1f} of {rate:.4g} requests/s"
        return None

    def latencies(self, candidate: Candidate) -> Latencies:
        """TTFT, TPOT and the whole request's time by percentile."""
        config = candidate.config
        model, batched = self.step_model(config), config.max_num_batched_tokens
        return Latencies(candidate.serving, self.demand, model, batched)


def _kernels(config: EngineConfig) -> tuple[object, ...]:
    """What step times depend on."""
    levers = (config.tensor_parallel, config.kv_dtype, config.state_dtype, config.mtp_depth)
    return (config.version, config.attention_backend, config.linear_backend, *levers)


def _room(config: EngineConfig) -> tuple[object, ...]:
    """What memory depends on."""
    batch = (config.max_num_seqs, config.max_num_batched_tokens)
    return (*_kernels(config), *batch, config.gpu_memory_utilization, config.text_only)


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
