"""What a fleet's GPUs did while it was measured: busy, at which clock, at how much power.

The agents read NVML every few seconds and tell it in the deployment (`node.gpus`). Energy and the
time at the limit of power are counters there, so that nothing between two readings is missed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
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
    return GpuUse(
        node=last.node,
        index=last.index,
        name=last.name,
        busy_percent=fmean(reading.busy_percent for reading in readings),
        power_w=_rate([(reading.read_s, reading.energy_j) for reading in readings]),
        power_limit_w=last.power_limit_w,
        power_limited=_share([(reading.read_s, reading.power_limited_s) for reading in readings]),
        clock_mhz=_mean(reading.clock_mhz for reading in readings),
        clock_max_mhz=last.clock_max_mhz,
    )


def _rate(counted: Sequence[tuple[float, float | None]]) -> float | None:
    """What a counter gains in a second; None from fewer than two values."""
    known = [(at_s, value) for at_s, value in counted if value is not None]
    if len(known) < 2:
        return None
    (first_s, first), (last_s, last) = known[0], known[-1]
    return (last - first) / (last_s - first_s)


def _share(counted: Sequence[tuple[float, float | None]]) -> float | None:
    """The same of seconds; the driver's clock and ours differ by a hair."""
    rate = _rate(counted)
    return None if rate is None else min(rate, 1.0)


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def in_words(gpus: Sequence[GpuUse]) -> str:
    """`98 % busy, 1,507 of 1,980 MHz, 693 of 700 W, held down by the limit of power ...`."""
    said = [f"{fmean(gpu.busy_percent for gpu in gpus):.0f} % busy"]
    clock_mhz = _mean(gpu.clock_mhz for gpu in gpus)
    power_w = _mean(gpu.power_w for gpu in gpus)
    limited = _mean(gpu.power_limited for gpu in gpus)
    if clock_mhz is not None:
        said.append(f"{clock_mhz:,.0f}{_of(gpus[0].clock_max_mhz)} MHz")
    if power_w is not None:
        said.append(f"{power_w:,.0f}{_of(gpus[0].power_limit_w)} W")
    if limited is not None:
        said.append(f"held down by the limit of power {100 * limited:.0f} % of the time")
    return ", ".join(said)


def _of(most: float | None) -> str:
    return f" of {most:,.0f}" if most else ""


def joules_per_token(summary: Summary) -> float | None:
    """Energy of all GPUs for a token, input or output; None where it was not measured."""
    powers = [gpu.power_w for gpu in summary.gpus if gpu.power_w is not None]
    if not powers or len(powers) < len(summary.gpus) or not summary.throughput.total_tok_s:
        return None
    return sum(powers) / summary.throughput.total_tok_s
