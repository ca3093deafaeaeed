"""A Ray cluster on one machine: a head and fake nodes, each at a loopback address of its own."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HEAD = "127.0.0.2"
"""Not 127.0.0.1: Ray takes that for the machine's outward address."""


@dataclass
class RayCluster:
    """`address` is what a driver connects to; `nodes` by their address, the head left out."""

    address: str
    cluster: Any
    nodes: dict[str, Any] = field(default_factory=dict)

    def remove_node(self, address: str) -> None:
        """The node's raylet is killed, as when a machine is taken away."""
        self.cluster.remove_node(self.nodes.pop(address), allow_graceful=False)


@contextlib.contextmanager
def ray_cluster(nodes: int, node_files: Path) -> Iterator[RayCluster]:
    """The head counts as a node. `node_files` is where the nodes keep temporary files.

    Ray's own lie in a folder with a short name, since it has sockets there. Nothing of Ray runs
    after the block.
    """
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("TMPDIR", str(node_files))
        head = {"num_cpus": 1, "node_ip_address": HEAD, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        found = RayCluster(cluster.address, cluster)
        for number in range(3, 2 + nodes):
            address = f"127.0.0.{number}"
            found.nodes[address] = cluster.add_node(num_cpus=1, node_ip_address=address)
    try:
        yield found
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
