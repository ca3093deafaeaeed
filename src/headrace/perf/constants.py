"""Reads `constants.toml`: kernel efficiencies, host costs, memory, scaling, with their sources."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict

from headrace.hardware.gpu import Gpu


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kernels(_Table):
    """Achieved over data-sheet figures for one GPU."""

    tables: str
    """The GPU whose kernel tables (`kernels.toml`) serve this one."""
    bandwidth: float
    """Of streaming kernels: element-wise ones and sampling."""
    state_bandwidth: float
    prefill_state_s_per_value: float
    """Seconds per prompt token and value of the recurrent state of one layer."""
    fp8_block_of_fp8: float | None = None
    """Block-scaled FP8 GEMM speed as a share of per-tensor FP8; None: its own table."""
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

    gemm_launches: float
    large_gemm: float
    attention_launches: float
    all_reduce_extra_s: float
    all_reduce_bytes: float
    source: str


class Host(_Table):
    """What the engine's host side adds, for versions (both ends included) and model families."""

    versions: tuple[str, str]
    families: tuple[str, ...]
    gpus: tuple[str, ...] = ()
    step_s: float
    mixed_s: float
    sequence_s: float
    draft_launch_s: float
    kappa: float
    """Measured over modelled GPU time, for what operator tables leave out."""
    measured_on: tuple[str, ...]
    band: float
    """Half-width of the prediction's band on measured ground, as a share."""
    source: str

    def covers(self, version: str, family: str, gpu: str) -> bool:
        """Whether this table is about that version and model family on that GPU."""
        low, high = (version_key(v) for v in self.versions)
        within = low <= version_key(version)[:2] <= high
        return within and family in self.families and (not self.gpus or gpu in self.gpus)


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
    host: tuple[Host, ...]
    memory: Memory
    scaling: Scaling

    def kernels_of(self, gpu: Gpu) -> Kernels:
        """The constants of a GPU, or the default ones of its generation."""
        if gpu.kind == "cpu":
            return self.kernels["CPU"]
        blackwell = gpu.compute_capability is not None and gpu.compute_capability >= (10, 0)
        return self.kernels.get(gpu.name, self.kernels["blackwell" if blackwell else "default"])

    def host_of(self, version: str, family: str, gpu: str) -> Host:
        """The first host table that covers the version and the family on the GPU."""
        return next(h for h in self.host if h.covers(version, family, gpu))


def version_key(version: str) -> tuple[int, ...]:
    """`0.18.0` as (0, 18, 0), so that versions compare as numbers."""
    return tuple(int(part) for part in version.split("."))


@cache
def load_constants() -> Constants:
    """The packaged constants."""
    text = resources.files("headrace.perf").joinpath("constants.toml").read_text("utf-8")
    return Constants.model_validate(tomllib.loads(text))
