"""Which cores a replica's process gets: those beside its GPUs, shared out evenly. Pure but for one.

A replica has a server, tokenizers and an engine loop that feed the GPU all the time. On the wrong
socket every copy crosses the link between the sockets; unpinned, eight replicas push one another
off warm caches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

NODES = Path("/sys/devices/system/node")


def share_cpus(
    gpus: Sequence[Sequence[int]],
    numa_of_gpu: Mapping[int, int],
    cpus_of_numa: Mapping[int, Sequence[int]],
    allowed: Sequence[int],
) -> list[list[int]]:
    """The cores of each replica, by its GPUs; an empty list: all cores.

    Replicas on one memory node share its allowed cores evenly. Nobody is pinned where a GPU's node
    is not known, where a replica spans nodes, or where there are fewer cores than replicas.
    """
    homes = [{numa_of_gpu.get(gpu, -1) for gpu in own} for own in gpus]
    if any(len(home) != 1 or -1 in home for home in homes):
        return [[] for _ in gpus]
    home_of = [home.pop() for home in homes]
    shares: list[list[int]] = []
    for number, node in enumerate(home_of):
        cpus = [cpu for cpu in cpus_of_numa.get(node, ()) if cpu in allowed]
        each = len(cpus) // home_of.count(node)
        if each == 0:
            return [[] for _ in gpus]
        first = home_of[:number].count(node) * each
        shares.append(cpus[first : first + each])
    return shares


def cpus_of_numa(folder: Path = NODES) -> dict[int, list[int]]:
    """The cores of each memory node, as the kernel lists them."""
    found = {}
    for node in folder.glob("node[0-9]*"):
        try:
            found[int(node.name[4:])] = cpu_list((node / "cpulist").read_text())
        except (OSError, ValueError):
            continue
    return found


def cpu_list(text: str) -> list[int]:
    """`0-3,8,10-11` as numbers. Raises ValueError."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        cpus += range(int(low), int(high or low) + 1) if part else ()
    return cpus
