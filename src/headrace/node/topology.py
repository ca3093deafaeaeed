"""Which cores a replica's process gets: those beside its GPUs, shared out evenly. Pure but for two.

A replica has a server, tokenizers and an engine loop that feed the GPU all the time. On the wrong
socket every copy crosses the link between the sockets; unpinned, eight replicas push one another
off warm caches; and an engine loop beside another on the two threads of one core takes longer for
every step that it launches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.node.nvml import Gpu

NODES = Path("/sys/devices/system/node")
CPUS = Path("/sys/devices/system/cpu")
Cores = Sequence[Sequence[int]]
"""Cores, each with the numbers of its threads."""


def share_cpus(
    gpus: Sequence[Sequence[int]],
    numa_of_gpu: Mapping[int, int],
    cores_of_numa: Mapping[int, Cores],
    allowed: Sequence[int],
) -> list[list[int]]:
    """The cores of each replica, by its GPUs, as numbers of threads; an empty list: all of them.

    Replicas on one memory node share its allowed cores evenly, and whole. Nobody is pinned where a
    GPU's node is not known, where a replica spans nodes, or where cores are fewer than replicas.
    """
    homes = [{numa_of_gpu.get(gpu, -1) for gpu in own} for own in gpus]
    if any(len(home) != 1 or -1 in home for home in homes):
        return [[] for _ in gpus]
    home_of = [home.pop() for home in homes]
    shares: list[list[int]] = []
    for number, node in enumerate(home_of):
        own = ([cpu for cpu in core if cpu in allowed] for core in cores_of_numa.get(node, ()))
        cores = [core for core in own if core]
        each = len(cores) // home_of.count(node)
        if each == 0:
            return [[] for _ in gpus]
        first = home_of[:number].count(node) * each
        shares.append(sorted(cpu for core in cores[first : first + each] for cpu in core))
    return shares


def numa_of_gpus(gpus: Sequence[Gpu], nodes: Sequence[int]) -> dict[int, int]:
    """The memory node of each GPU. Where there is one node the kernel names none: it is that."""
    only = nodes[0] if len(nodes) == 1 else None
    found = {gpu.index: only if gpu.numa_node is None else gpu.numa_node for gpu in gpus}
    return {index: node for index, node in found.items() if node is not None}


def cores_of_numa(nodes: Path = NODES, cpus: Path = CPUS) -> dict[int, list[list[int]]]:
    """The cores of each memory node, as the kernel lists them."""
    found = {}
    for node in nodes.glob("node[0-9]*"):
        try:
            listed = cpu_list((node / "cpulist").read_text())
        except (OSError, ValueError):
            continue
        found[int(node.name[4:])] = _by_core(listed, cpus)
    return found


def _by_core(listed: Sequence[int], cpus: Path) -> list[list[int]]:
    """The threads in groups of one core; each by itself where the kernel does not tell."""
    cores: dict[int, list[int]] = {}
    for cpu in listed:
        try:
            text = (cpus / f"cpu{cpu}/topology/thread_siblings_list").read_text()
            first = min(cpu_list(text), default=cpu)
        except (OSError, ValueError):
            first = cpu
        cores.setdefault(first, []).append(cpu)
    return [cores[first] for first in sorted(cores)]


def cpu_list(text: str) -> list[int]:
    """`0-3,8,10-11` as numbers. Raises ValueError."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        cpus += range(int(low), int(high or low) + 1) if part else ()
    return cpus
