"""Reads `constants.toml` and `calibrations.toml`: what tables of kernels leave open."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from pydantic import BaseModel, ConfigDict

from headrace.hardware.gpu import Gpu
from headrace.models.facts import ModelFacts, WeightsDtype
from headrace.perf.calibration import Calibration


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kernels(_Table):
    """Achieved over data-sheet figures for one GPU."""

    tables: str
    """The GPU whose kernel tables (`kernels.toml`, `gemm.npz`) serve this one."""
    moe_tables: str | None = None
    """Another one for its mixtures of experts."""
    bandwidth: float
    """Of streaming kernels: element-wise ones and sampling."""
    state_bandwidth: float
    prefill_state_s_per_value: float
    """Seconds per prompt token and value of the recurrent state of one layer."""
    prefill_state_flashinfer_s_per_value: float | None = None
    """The same by FlashInfer's kernel, which vLLM takes unasked on Hopper; None: not measured."""
    state_update_s_per_value: float
    """Seconds to update one value of the recurrent state, per verified token: the floor that
    arithmetic sets where memory traffic does not."""
    elementwise_passes: float
    """Times that a layer's activations cross memory outside of GEMMs."""
    sample_passes: float
    """Times that a row of float32 logits crosses memory."""
    source: str


class Step(_Table):
    """What separates a step from the sum of its kernels, for all GPUs and models alike."""

    gemm_extra_s: float
    large_gemm: float
    moe_launches: float
    all_reduce_extra_s: float
    all_reduce_bytes: float
    first_wave_share: float
    """Published clients start all requests at once and send several waves: this share of requests
    waits for the prompts of the whole first wave. Part of TTFT of measured rows only."""
    source: str


class Override(_Table):
    """Measured over modelled step time where the model is known to fail: measurements win."""

    engine: str
    families: tuple[str, ...]
    weights: str
    as_weights: WeightsDtype
    """The format that memory and time behave like."""
    step_time: float
    """Measured over modelled step time of that format."""
    source: str


class SglangMemory(_Table):
    """How many requests SGLang runs at once, where a row does not say."""

    memory_share: float
    states_per_sequence: float
    source: str


class Memory(_Table):
    """Activation memory."""

    runtime_bytes: float
    bytes_per_batched_token_and_hidden: float
    bytes_per_sequence_and_vocab: float
    source: str


class Scaling(_Table):
    """Throughput lost from one node to many."""

    loss_per_doubling: float
    source: str


class Constants(_Table):
    """All constants of the performance model."""

    kernels: dict[str, Kernels]
    step: Step
    memory: Memory
    scaling: Scaling
    sglang: SglangMemory
    override: tuple[Override, ...] = ()
    calibration: tuple[Calibration, ...]

    def kernels_of(self, gpu: Gpu) -> Kernels:
        """The constants of a GPU, or the default ones of its generation."""
        if gpu.kind == "cpu":
            return self.kernels["CPU"]
        blackwell = gpu.compute_capability is not None and gpu.compute_capability >= (10, 0)
        return self.kernels.get(gpu.name, self.kernels["blackwell" if blackwell else "default"])

    def calibration_of(
        self,
        version: str,
        facts: ModelFacts,
        gpu: Gpu,
        engine: str = "vllm",
        *,
        deep_gemm: bool = True,
    ) -> Calibration:
        """The first calibration that covers them, not yet `on_host` of that GPU.

        Raises LookupError when none does.
        """
        about = facts.family, gpu.name, facts.weights_dtype
        for calibration in self.calibration:
            if calibration.covers(engine, version, *about, deep_gemm):
                return calibration
        raise LookupError(f"nothing is calibrated for {engine} {version} and {about[0]} models")

    def host_beside_others(self, calibration: Calibration) -> Calibration | None:
        """The one whose host constants a calibration without any points to."""
        return next((one for one in self.calibration if one.name == calibration.host_of), None)

    def override_of(self, engine: str, family: str, weights: str) -> Override | None:
        """The measured correction of the step time, where there is one."""
        for override in self.override:
            of_family = family in override.families
            if override.engine == engine and override.weights == weights and of_family:
                return override
        return None

    def with_calibrations(self, own: tuple[Calibration, ...]) -> Constants:
        """The same with a user's own calibrations before the packaged ones."""
        return self.model_copy(update={"calibration": own + self.calibration})


@cache
def load_constants() -> Constants:
    """The packaged constants."""
    return Constants.model_validate(_toml("constants.toml") | _toml("calibrations.toml"))


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("headrace.perf").joinpath(name).read_text("utf-8"))
