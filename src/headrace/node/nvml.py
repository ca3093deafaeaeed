"""GPUs as NVIDIA's management library sees them: health, memory, power, where they are plugged in.

Through `nvidia-ml-py` (the extra `nvml`), NVIDIA's own binding. Without it, or without a driver,
there are no GPUs to tell of, and nothing else changes.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEVICES = Path("/sys/bus/pci/devices")


@dataclass(frozen=True)
class Gpu:
    """One GPU. `numa_node` None: not known, or a machine with one. `trouble` in words, if any.

    What a GPU or its driver does not tell of power and clocks is None.
    """

    index: int
    name: str
    memory_used_bytes: int
    memory_total_bytes: int
    temperature_c: int
    busy_percent: int
    numa_node: int | None
    trouble: str | None
    energy_j: float | None = None
    """All that it took since the driver started."""
    power_limit_w: float | None = None
    power_limited_s: float | None = None
    """How long, since then, that limit has held its clock down."""
    clock_mhz: int | None = None
    """Of its multiprocessors, now."""
    clock_max_mhz: int | None = None


def read_gpus() -> list[Gpu]:
    """Every GPU of the machine, whatever CUDA_VISIBLE_DEVICES says; empty without NVML."""
    with _library() as nvml:
        if nvml is None:
            return []
        return [_read(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]


@contextlib.contextmanager
def _library() -> Iterator[Any]:
    """NVML, initialised for the block; None where it is not."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # no module, no driver, no permission: NVML has an error class for each
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _read(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    return Gpu(
        index=index,
        name=name if isinstance(name, str) else name.decode(),
        memory_used_bytes=int(memory.used),
        memory_total_bytes=int(memory.total),
        temperature_c=_or(0, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        busy_percent=getattr(_or(None, nvml.nvmlDeviceGetUtilizationRates, handle), "gpu", 0),
        numa_node=numa_node(_or(None, nvml.nvmlDeviceGetPciInfo, handle)),
        trouble=_trouble(nvml, handle),
        energy_j=_over(1e3, _or(None, nvml.nvmlDeviceGetTotalEnergyConsumption, handle)),
        power_limit_w=_over(1e3, _or(None, nvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        power_limited_s=_over(1e9, _power_limited_ns(nvml, handle)),
        clock_mhz=_or(None, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
        clock_max_mhz=_or(None, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
    )


def _power_limited_ns(nvml: Any, handle: Any) -> int | None:
    kind = nvml.NVML_PERF_POLICY_POWER
    held = _or(None, nvml.nvmlDeviceGetViolationStatus, handle, kind)
    return None if held is None else int(held.violationTime)


def _over(units: float, value: int | None) -> float | None:
    """NVML counts in thousandths and in nanoseconds."""
    return None if value is None else value / units


def _trouble(nvml: Any, handle: Any) -> str | None:
    """Memory errors that could not be corrected, and rows that wait for a reset."""
    kinds = (nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC)
    errors = _or(0, nvml.nvmlDeviceGetTotalEccErrors, handle, *kinds)
    if errors:
        return f"{errors} uncorrected memory errors since the driver started"
    rows = _or(None, nvml.nvmlDeviceGetRemappedRows, handle)
    if rows is not None and (rows[2] or rows[3]):
        return (
            "memory rows wait to be remapped: reset the GPU" if rows[2] else "row remapping failed"
        )
    return None


def _or(otherwise: Any, call: Any, *arguments: Any) -> Any:
    """The answer, or `otherwise` where this GPU or driver does not know the question."""
    try:
        return call(*arguments)
    except Exception:  # NVMLError_NotSupported and its kin
        return otherwise


def numa_node(pci: Any, devices: Path = DEVICES) -> int | None:
    """The memory node next to a device, as the kernel says; None when it does not."""
    if pci is None:
        return None
    text = pci.busId if isinstance(pci.busId, str) else pci.busId.decode()
    domain, _, rest = text.lower().partition(":")
    try:
        found = int((devices / f"{domain[-4:]}:{rest}" / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return found if found >= 0 else None
