"""A GPU as the performance model sees it. Figures live in `catalog.toml`, each with its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ComputeDtype = Literal["bf16", "fp8", "fp4", "int8"]


@dataclass(frozen=True)
class Gpu:
    """One accelerator (or CPU): data-sheet figures, not efficiencies."""

    name: str
    memory_bytes: float
    bandwidth_bytes_s: float
    flops: dict[ComputeDtype, float]
    """Dense FLOP/s by dtype; a dtype that the device lacks is absent."""
    link_bytes_s: float
    """To the other GPUs of its node, one direction; PCIe where there is no NVLink."""
    usd_per_hour: float | None
    compute_capability: tuple[int, int] | None = None
    """CUDA compute capability; None for a CPU."""
    host_time: float = 1.0
    """Time that one core of the machine around it takes to launch kernels, over that of the
    machines that the calibrations were made on."""

    @property
    def kind(self) -> Literal["gpu", "cpu"]:
        """Whether CUDA rules apply."""
        return "cpu" if self.compute_capability is None else "gpu"
