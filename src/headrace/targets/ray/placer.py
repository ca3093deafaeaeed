"""Brings a fleet onto Ray's nodes: `python -m headrace.targets.ray.placer RUN`.

A child of the fleet's head (`headrace.node.placer`), and Ray's driver: a placement group spreads
one bundle strictly on each node, an actor in each bundle runs the node's agent. When this process
ends, in whatever way, Ray ends the actors, and their agents end with them.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from headrace.errors import HeadraceError
from headrace.node.assignment import Assignment
from headrace.node.job import Link
from headrace.planner.plan import Plan
from headrace.spec.target import RayTarget
from headrace.targets.parts import assignments, coordinator_url, token_path
from headrace.targets.places import is_loopback, node_folder, node_names
from headrace.targets.placing import run_placer
from headrace.targets.ray.actor import About, NodeHost
from headrace.targets.ray.seat import Seat, say

LOOK_S = 0.1
KNOCK_S = 10.0
CLOSE_S = 15.0
"""For all nodes together: the head kills this process after 20 s, and Ray the actors with it."""
ROOM_S = 600.0
"""How long a cluster may take to have room: time for others to leave, or for new nodes to boot."""


def place(run_dir: Path) -> None:
    """Bring the agents onto the nodes, and stay until all of them have ended.

    Raises HeadraceError when the cluster cannot be reached or has no room.
    """
    plan = Plan.model_validate_json((run_dir / "plan.json").read_bytes())
    target = plan.fleet.target
    assert isinstance(target, RayTarget)
    url = coordinator_url(run_dir, lambda: True)
    with connected(target), room(plan, target) as group:
        seats = [seat(plan, run_dir, url, group, index) for index in range(group.bundle_count)]
        try:
            while not all(each.ended for each in seats):
                for each in seats:
                    each.step()
                time.sleep(LOOK_S)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            until_s = time.monotonic() + CLOSE_S
            for each in seats:
                each.leave()
            for each in seats:
                each.close(until_s)


@contextmanager
def connected(target: RayTarget) -> Iterator[None]:
    """As a driver of the cluster; a Ray of its own, on this machine alone, without an address."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if target.address is None:
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    else:
        host = target.address.rpartition(":")[0].strip("[]")
        options |= {"address": target.address}
        options |= {"_node_ip_address": host} if _is_loopback(host) else {}
        _knock(target.address)
    say(f"connecting to {target.address or 'a new Ray on this machine'}")
    try:
        ray.init(**options)
    except (OSError, RuntimeError, ValueError) as error:
        where = target.address or "this machine"
        raise HeadraceError(f"Ray at {where}: {str(error).splitlines()[0]}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Ray takes minutes to find out that nobody is there. Raises HeadraceError."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()
    except ValueError:
        raise HeadraceError(f"target.address {address}: expected host:port") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise HeadraceError(f"no Ray cluster answers at {address}: {why}") from error


def _is_loopback(host: str) -> bool:
    try:
        return is_loopback(host)
    except ValueError:
        return host == "localhost"


def bundle(plan: Plan, target: RayTarget) -> dict[str, float]:
    """What each node must have. Simulated GPUs are none of Ray's."""
    layout = plan.chosen.layout
    cpus: dict[str, float] = {"CPU": target.cpus_per_node}
    if plan.fleet.engine.kind == "simulated":
        return cpus
    return {**cpus, "GPU": layout.tensor_parallel * layout.replicas_per_node}


@contextmanager
def room(plan: Plan, target: RayTarget) -> Iterator[PlacementGroup]:
    """A bundle on each of as many nodes as the plan has. Raises HeadraceError when none is got."""
    need, nodes = bundle(plan, target), plan.chosen.layout.nodes
    group = placement_group([need] * nodes, strategy="STRICT_SPREAD")
    try:
        _wait_for_room(group, need, nodes, ROOM_S if target.address else 0.0)
        yield group
    finally:
        remove_placement_group(group)


def _wait_for_room(
    group: PlacementGroup, need: dict[str, float], nodes: int, patience_s: float
) -> None:
    deadline = time.monotonic() + patience_s
    words = " and ".join(f"{count:g} {name}" for name, count in need.items())
    said = ""
    while not group.wait(1):
        fit = sum(_has(node, need) for node in ray.nodes())  # type: ignore[no-untyped-call]
        text = f"{fit} nodes of the Ray cluster have {words}; {nodes} are needed"
        text = text if fit < nodes else f"waiting for {words} to be free on {nodes} nodes of Ray"
        if time.monotonic() > deadline:
            raise HeadraceError(text)
        if text != said:
            say(text)
            said = text


def _has(node: dict[str, Any], need: dict[str, float]) -> bool:
    has = node.get("Resources", {})
    return bool(node["Alive"]) and all(has.get(name, 0) >= count for name, count in need.items())


def seat(plan: Plan, run_dir: Path, url: str, group: PlacementGroup, index: int) -> Seat:
    """The seat of one bundle."""
    node = node_names(plan)[index]
    need = group.bundle_specs[index]

    def make() -> Any:
        actor = ray.remote(NodeHost).options(
            num_cpus=need["CPU"],
            num_gpus=need.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                placement_group=group, placement_group_bundle_index=index
            ),
        )
        return actor.remote(plan.fleet.name, node)

    def assign(name: str, about: About) -> Assignment:
        parts = assignments(
            plan,
            node_names(plan),
            Link(url=url),
            lambda _: Path(about.folder),
            lambda _: about.address,
        )
        return next(part for part in parts if part.node == name)

    token = token_path(run_dir).read_text(encoding="ascii").strip()
    return Seat(node, node_folder(run_dir, node), make, assign, token)


if __name__ == "__main__":
    run_placer(place)
