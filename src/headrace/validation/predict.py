"""A measured load, predicted: the same model, GPU, settings and load as a row or a run had."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts
from headrace.perf.assemble import assemble
from headrace.perf.calibration import Calibration, Engine
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Constants, Kernels
from headrace.perf.operators import Operators, count
from headrace.perf.refill import ALONE, Refill
from headrace.perf.steady import Load, steady_state
from headrace.perf.step import StepBatch, StepModel


@dataclass(frozen=True)
class Measured:
    """What was measured of a case; throughput is of all its GPUs."""

    tpot_ms: float | None = None
    ttft_ms: float | None = None
    total_tok_s: float | None = None


@dataclass(frozen=True)
class Predicted:
    """What the model says of a case. `low` and `high` are shares of the prediction."""

    tpot_ms: float
    ttft_ms: float
    total_tok_s: float
    low: float
    high: float

    def holds(self, predicted: float, measured: float) -> bool:
        """Whether the band around one of its figures reaches the measured one."""
        return self.low <= measured / predicted <= self.high


@dataclass(frozen=True)
class Case:
    """One measurement with all that a prediction of it needs.

    `replicas` is how many times the replica stood there; `at_once` says that the client started
    all requests together, as published ones do, so that TTFT has the first wave in it.
    """

    id: str
    cell: tuple[str, str, str, str]
    """Engine, model, GPU and weights as the row names them."""
    engine: Engine
    facts: ModelFacts
    gpu: Gpu
    kernels: Kernels
    config: EngineConfig
    load: Load
    concurrency: float
    running: int
    replicas: float
    measured: Measured
    at_once: bool = True
    refill: Refill = ALONE
    slower: float = 1.0
    """A measured override of the step time (`perf.constants.Override`)."""

    @property
    def zeros(self) -> bool:
        """Whether its weights were vLLM's dummy ones, which FP8 rounds to zeros."""
        return self.config.dummy_weights and self.facts.weights_dtype.startswith("fp8")

    @cached_property
    def operators(self) -> Operators:
        """Counted once: no fit changes them."""
        return count(self.facts, self.gpu, self.config, self.kernels)

    def calibration(self, constants: Constants) -> Calibration:
        """The one that covers this case. Raises LookupError when none does."""
        version, deep_gemm = self.config.version, self.config.deep_gemm
        return constants.calibration_of(
            version, self.facts, self.gpu, self.engine, deep_gemm=deep_gemm
        )

    def predict(self, constants: Constants) -> Predicted:
        """TPOT, TTFT and throughput. Raises LookupError when no calibration covers the engine."""
        calibration = self.calibration(constants)
        here = calibration.on_host(self.gpu.host_time, self.facts.layers)
        model = assemble(self.operators, self.config, constants.step, here)
        batched = self.config.max_num_batched_tokens
        ahead = calibration.decided(self.config.async_scheduling)
        steady = steady_state(
            model, self.load, self.concurrency, self.running, batched, ahead, self.refill
        )
        slower = self.slower
        wave_s = self._first_wave_s(model) * constants.step.first_wave_share
        ttft_s = steady.ttft_s + calibration.request_s + wave_s
        tokens = self.load.input_tokens + self.load.output_tokens
        band = calibration.band_of(self.gpu.name, self.facts.weights_dtype)
        return Predicted(
            tpot_ms=slower * steady.tpot_s * 1e3,
            ttft_ms=slower * ttft_s * 1e3,
            total_tok_s=steady.request_s * tokens * self.replicas / slower,
            low=1 - band,
            high=1 + band,
        )

    def _first_wave_s(self, model: StepModel) -> float:
        """Where all started at once: what a request waits in the first wave, half of it."""
        if not self.at_once:
            return 0.0
        prompt, batched = self.load.input_tokens, self.config.max_num_batched_tokens
        prompts = max(1.0, batched / prompt)
        batch = StepBatch(0, 0, batched, prompts, batched * prompt / 2)
        wave = min(self.concurrency, self.running) * prompt / 2 / batched
        return wave * model.step_s(batch)
