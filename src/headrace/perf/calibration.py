"""What measurements say beyond operator tables, for one engine, version family, GPU and dtype.

Packaged ones are in `calibrations.toml`; a user's own, written by `headrace calibrate`, have the
same form and come first.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Engine = Literal["vllm", "sglang"]
OF_HOST = ("step_s", "sequence_s", "mixed_s", "launch_s", "piecewise_s", "draft_launch_s")
"""The constants that go with the speed of a core of the host."""
OF_LAYERS = ("launch_s", "piecewise_s")
"""Those of them that go with the layers of the model as well."""
HOST_TIME = "host_time"
"""In a fit: one factor on all constants of the host, `hardware.host_time` by another way."""
NAMES = (
    "kernel_time",
    HOST_TIME,
    "step_s",
    "sequence_s",
    "mixed_s",
    "launch_s",
    "piecewise_s",
    "request_s",
)
"""What a fit may change, in the order in which data comes to carry it."""
UNMEASURED_BAND = 0.30
"""Half-width of the band where neither the GPU nor the weights' format was measured."""
NEAR_BAND = 0.20
"""Where the GPU was measured, but with weights of another format."""


class Calibration(BaseModel):
    """A few named constants, the ground they were measured on, and what they leave unexplained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    engine: Engine = "vllm"
    versions: tuple[str, str]
    """The first and last version, both included, by major and minor number."""
    families: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    """Weight formats. Of these three an empty list stands for all."""
    deep_gemm: bool | None = None
    """Measured with or without DeepGEMM; None: it makes no difference."""
    kernel_time: float = Field(1.0, gt=0)
    """Measured over modelled time of the GPU's kernels."""
    step_s: float = Field(0.0, ge=0)
    """What the host adds to a step."""
    sequence_s: float = Field(0.0, ge=0)
    """What it adds per decoding sequence."""
    mixed_s: float = Field(0.0, ge=0)
    """What a step with prompts in it costs beyond its kernels."""
    launch_s: float = Field(0.0, ge=0)
    """Host time to launch the kernels of a step that no CUDA graph covers; it overlaps with them,
    so that the longer of both counts."""
    piecewise_s: float = Field(0.0, ge=0)
    """The same for a step with prompts that a CUDA graph covers: between the graph's pieces the
    host launches attention and recurrent state one by one."""
    layers: int | None = Field(None, gt=0)
    """Of the model that these two were measured with: they go with the number of layers."""
    host_of: str | None = None
    """The calibration that knows what the host takes, where nobody measured it beside this GPU: it
    is not counted here, but a plan whose steps with prompts are shorter than that says so."""
    mixed_state: float = Field(1.0, ge=1)
    """Time of the kernel that updates 16-bit states of sequences that decode beside prompts, over
    that of decoding alone: it does not reach the memory's bandwidth. Where tokens are drafted the
    same kernel serves both."""
    drafted_state: float = Field(1.0, ge=1)
    """The same where tokens are drafted: more states are written, by that kernel."""
    large_gemm: float | None = Field(None, gt=0)
    """Time of GEMMs from 512 tokens on, of the tables', where a profile says another than
    `constants.toml` does for all engines."""
    gemm: str | None = None
    """The kernel in `gemm_kernels.toml` that this engine takes instead of the tables' own."""
    gemm_by_backend: dict[str, str] = {}
    """Those that it takes where `linear_backend` asks for them."""
    unpadded_gemm: float = Field(1.0, ge=1)
    """Time of the GEMMs of a step that no CUDA graph pads, over that of padded ones: a kernel may
    want a multiple of so many tokens, and take another way without."""
    steps_ahead: Literal[0, 1] = 0
    """1 where TTFT was measured with asynchronous scheduling: when a request arrives, the step
    after the one under way is put together already."""
    request_s: float = Field(0.0, ge=0)
    """From a request's arrival to the scheduler and back: part of TTFT, not of a step."""
    draft_launch_s: float = Field(0.0, ge=0)
    """What a drafted token costs before any kernel runs."""
    zeros: bool = False
    """Whether rows had vLLM's dummy weights, which FP8 rounds to zeros: GPUs multiply those
    faster, so that a checkpoint is slower."""
    real_gemm: float = Field(1.0, ge=1)
    """Time of the GEMMs with weights of realistic size over that with `zeros`: bits that change
    cost power, and a GPU at its limit of power lowers its clock."""
    measured: tuple[str, ...] = ()
    """`GPU/format` pairs that rows exist for."""
    band: float = Field(gt=0, lt=1)
    """Half-width of the band on measured ground, as a share: four of five rows lie inside."""
    rows: int = Field(ge=0)
    """Measured rows that the constants were fitted to."""
    residual: float | None = None
    """Mean absolute error of TPOT over these rows, as a share."""
    source: str

    def covers(
        self, engine: str, version: str, family: str, gpu: str, weights: str, deep_gemm: bool
    ) -> bool:
        """Whether this calibration is about that engine, model family, GPU and format."""
        return (
            engine == self.engine
            and is_within(version, self.versions)
            and family in (self.families or (family,))
            and gpu in (self.gpus or (gpu,))
            and weights in (self.weights or (weights,))
            and self.deep_gemm in (None, deep_gemm)
        )

    @property
    def carried(self) -> tuple[str, ...]:
        """Of NAMES those that rows can carry: where the host's share is known, how fast this
        host is; elsewhere what it does.
        """
        knows_host = self.launch_s > 0 or self.piecewise_s > 0
        left_out = set(OF_HOST) if knows_host else {HOST_TIME}
        return tuple(name for name in NAMES if name not in left_out)

    def decided(self, async_scheduling: bool) -> int:
        """Steps put together before a request comes, beside the one under way."""
        return self.steps_ahead if async_scheduling else 0

    def on_host(self, host_time: float, layers: int | None = None) -> Calibration:
        """The same engine in a machine whose cores take so many times as long, with a model of so
        many layers.
        """
        more = layers / self.layers if layers and self.layers else 1.0
        if host_time == more == 1:
            return self
        found = {name: host_time * getattr(self, name) for name in OF_HOST}
        found |= {name: more * found[name] for name in OF_LAYERS}
        return self.model_copy(update=found)

    def gemm_of(self, linear_backend: str) -> str | None:
        """The kernel that a configuration takes; None: the tables' own."""
        return self.gemm_by_backend.get(linear_backend, self.gemm)

    def band_of(self, gpu: str, weights: str) -> float:
        """Half-width of a prediction's band, as a share; wider away from what was measured."""
        if f"{gpu}/{weights}" in self.measured:
            return self.band
        near = any(pair.startswith(f"{gpu}/") for pair in self.measured)
        return max(self.band, NEAR_BAND if near else UNMEASURED_BAND)

    def ground(self, gpu: str, weights: str) -> str:
        """In words, how near the measurements are."""
        if f"{gpu}/{weights}" in self.measured:
            return "measured ground"
        if any(pair.startswith(f"{gpu}/") for pair in self.measured):
            return f"the GPU was measured, {weights} weights on it were not"
        return f"nothing was measured on {gpu}"


def is_within(version: str, versions: tuple[str, str]) -> bool:
    """Whether a version lies between two, given as `0.26`, both included."""
    low, high = map(version_key, versions)
    return low <= version_key(version)[:2] <= high


def version_key(version: str) -> tuple[int, ...]:
    """`0.18.0` as (0, 18, 0), so that versions compare as numbers; `0.5.10.post1` too."""
    parts = (part for part in version.split(".") if part[:1].isdigit())
    return tuple(int("".join(c for c in part if c.isdigit())) for part in parts)
