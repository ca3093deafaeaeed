"""A Ray cluster on one machine: a head and fake nodes, each at a loopback address of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

HEAD = "127.0.0.2"
"""Not 127.0.0.1: Ray takes that for the machine's outward address."""


@dataclass
class RayCluster:
    """`address` is what a driver connects to; `nodes` by their address."""

    address: str
    nodes: dict[str, Any]
    cluster: Any

    def remove_node(self, address: str) -> None:
        """The node's raylet is killed, as when a machine is taken away."""
        self.cluster.remove_node(self.nodes.pop(address), allow_graceful=False)

    def add_node(self, address: str) -> None:
        """One CPU, no GPU."""
        self.nodes[address] = self.cluster.add_node(num_cpus=1, node_ip_address=address)


@contextlib.contextmanager
def ray_cluster(nodes: int) -> Iterator[RayCluster]:
    """The head counts as a node. Nothing of Ray runs after the block."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "node_ip_address": HEAD, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    found = RayCluster(cluster.address, {}, cluster)
    try:
        for number in range(3, 2 + nodes):
            found.add_node(f"127.0.0.{number}")
        yield found
    finally:
        cluster.shutdown()
