"""What a fleet's GPUs did while it was measured: busy, at which clock, at how much power.

The agents read NVML every few seconds and tell it in the deployment (`node.gpus`). Energy and the
time at the limit of power are counters there, so that nothing between two readings is missed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean

from headrace.loadgen.progress import Progress
from headrace.loadgen.summary import GpuUse, Summary
from headrace.sampling import Sampling
from headrace.targets.deployment import Deployment, GpuState

EVERY_S = 1.0


class GpuWatch(Sampling):
    """Keeps what a deployment says of its own GPUs while a load is being measured.

    `deployment` is asked once a second, in a thread, until the block is left; `seen` is to be
    called with the load's progress, which says when the warm-up is over.
    """

    def __init__(self, deployment: Callable[[], Deployment | None]) -> None:
        super().__init__()
        self.readings: list[GpuState] = []
        self._deployment = deployment
        self._measuring = False

    def seen(self, progress: Progress) -> None:
        """How far the load is."""
        self._measuring = progress.state == "measuring"

    def _sample(self) -> None:
        for _ in self._every(EVERY_S):
            if self._measuring and (now := self._deployment()):
                self.readings += now.own_gpus


def gpu_use(readings: Sequence[GpuState]) -> list[GpuUse]:
    """One row for each GPU. A reading that came more than once counts once."""
    found: defaultdict[tuple[str, int], dict[float, GpuState]] = defaultdict(dict)
    for reading in readings:
        found[reading.node, reading.index][reading.read_s] = reading
    return [_use(list(each.values())) for _, each in sorted(found.items())]


def _use(readings: Sequence[GpuState]) -> GpuUse:
    last = readings[-1]
    clocks = [reading.clock_mhz for reading in readings if reading.clock_mhz is not None]
    return GpuUse(
        node=last.node,
        index=last.index,
        name=last.name,
        busy_percent=fmean(reading.busy_percent for reading in readings),
        power_w=_rate([(reading.read_s, reading.energy_j) for reading in readings]),
        power_limit_w=last.power_limit_w,
        power_limited=_rate([(reading.read_s, reading.power_limited_s) for reading in readings]),
        clock_mhz=fmean(clocks) if clocks else None,
        clock_max_mhz=last.clock_max_mhz,
    )


def _rate(counted: Sequence[tuple[float, float | None]]) -> float | None:
    """What a counter gains in a second; None from fewer than two values."""
    known = [(at_s, value) for at_s, value in counted if value is not None]
    if len(known) < 2:
        return None
    (first_s, first), (last_s, last) = known[0], known[-1]
    return (last - first) / (last_s - first_s)


def in_words(gpus: Sequence[GpuUse]) -> str:
    """`98 % busy, 1,507 of 1,980 MHz, 693 of 700 W, held down by that limit 96 % of the time`."""
    said = [f"{fmean(gpu.busy_percent for gpu in gpus):.0f} % busy"]
    clocks = [g.clock_mhz for g in gpus if g.clock_mhz is not None]
    powers = [g.power_w for g in gpus if g.power_w is not None]
    limited = [g.power_limited for g in gpus if g.power_limited is not None]
    if clocks:
        said.append(f"{fmean(clocks):,.0f}{_of(gpus[0].clock_max_mhz)} MHz")
    if powers:
        said.append(f"{fmean(powers):,.0f}{_of(gpus[0].power_limit_w)} W")
    if limited:
        said.append(f"held down by the limit of power {100 * fmean(limited):.0f} % of the time")
    return ", ".join(said)


def _of(most: float | None) -> str:
    return f" of {most:,.0f}" if most else ""


def joules_per_token(summary: Summary) -> float | None:
    """Energy of all GPUs for a token, input or output; None where it was not measured."""
    powers = [gpu.power_w for gpu in summary.gpus]
    known = [power for power in powers if power is not None]
    if not known or len(known) < len(powers) or not summary.throughput.total_tok_s:
        return None
    return sum(known) / summary.throughput.total_tok_s
