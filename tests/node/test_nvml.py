"""What NVML says, in our units. Its functions are stood in for: no GPU is here."""

from __future__ import annotations

import asyncio
import sys
import time
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from headrace.node.gpus import watch_gpus
from headrace.node.nvml import read_gpus
from headrace.targets.deployment import GpuState


class NotSupportedError(Exception):
    """As NVML raises it for a question that a GPU does not know."""


def nvml(**changed: Any) -> ModuleType:
    """The part of `pynvml` that is asked, for one H200 at its limit of power."""

    def unknown(*_: object) -> None:
        raise NotSupportedError

    found = ModuleType("pynvml")
    answers: dict[str, Any] = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": object(),
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=2**30, total=150_754_820_096),
        "nvmlDeviceGetName": "NVIDIA H200",
        "nvmlDeviceGetTemperature": 61,
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=99),
        "nvmlDeviceGetPciInfo": None,
        "nvmlDeviceGetTotalEccErrors": 0,
        "nvmlDeviceGetRemappedRows": (0, 0, 0, 0),
        "nvmlDeviceGetTotalEnergyConsumption": 1_234_567,
        "nvmlDeviceGetEnforcedPowerLimit": 700_000,
        "nvmlDeviceGetViolationStatus": SimpleNamespace(violationTime=2_500_000_000),
        "nvmlDeviceGetClockInfo": 1_507,
        "nvmlDeviceGetMaxClockInfo": 1_980,
    } | changed
    for name, answer in answers.items():
        call = unknown if answer is NotSupportedError else lambda *_, answer=answer: answer
        setattr(found, name, call)
    constants = ("TEMPERATURE_GPU", "MEMORY_ERROR_TYPE_UNCORRECTED", "VOLATILE_ECC")
    for name in (*constants, "CLOCK_SM", "PERF_POLICY_POWER"):
        setattr(found, f"NVML_{name}", 0)
    return found


def test_power_and_clocks_in_watts_joules_seconds_and_megahertz(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    (gpu,) = read_gpus()
    assert (gpu.name, gpu.busy_percent, gpu.trouble) == ("NVIDIA H200", 99, None)
    assert (gpu.energy_j, gpu.power_limit_w, gpu.power_limited_s) == (1_234.567, 700.0, 2.5)
    assert (gpu.clock_mhz, gpu.clock_max_mhz) == (1_507, 1_980)


class Wall:
    """Where an agent puts what it read; the real one writes a file."""

    def __init__(self) -> None:
        self.states: list[GpuState] = []

    def put_gpus(self, _: str, gpus: list[GpuState]) -> None:
        self.states = gpus


def test_an_agent_tells_when_it_read_them(monkeypatch: pytest.MonkeyPatch):
    wall = Wall()

    async def once() -> None:
        watching = asyncio.create_task(watch_gpus("a", wall))  # type: ignore[arg-type]
        while not wall.states:
            await asyncio.sleep(0.01)
        watching.cancel()

    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    asyncio.run(once())
    (state,) = wall.states
    assert (state.node, state.energy_j, state.clock_mhz) == ("a", 1_234.567, 1_507)
    assert 0 < state.read_s <= time.monotonic()


def test_what_a_gpu_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch):
    silent = {
        "nvmlDeviceGetTotalEnergyConsumption": NotSupportedError,
        "nvmlDeviceGetViolationStatus": NotSupportedError,
        "nvmlDeviceGetClockInfo": NotSupportedError,
    }
    monkeypatch.setitem(sys.modules, "pynvml", nvml(**silent))
    (gpu,) = read_gpus()
    assert (gpu.energy_j, gpu.power_limited_s, gpu.clock_mhz) == (None, None, None)
    assert gpu.power_limit_w == 700.0


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlInit=NotSupportedError))
    assert read_gpus() == []
