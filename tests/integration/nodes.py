"""A fleet on several machines, all of them this one: a head, and an agent process per node."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from headrace.cli.plan import plan_for
from headrace.node.job import GatewaySpec, Link
from headrace.planner.plan import Plan
from headrace.spec.load import load_fleet
from headrace.targets.deployment import Deployment
from headrace.targets.local.fleet import RunningFleet, start, stop, wait_ready
from headrace.targets.parts import assignments, coordinator_url, head_job, token_path

FLEET = """
name: {name}
model: Qwen/Qwen3.5-27B-FP8
hardware: {{gpu: B200, nodes: {nodes}, gpus_per_node: {gpus}}}
workload: {{input_tokens: 64, output_tokens: 16, concurrency: 8}}
engine: {{kind: simulated, args: {{tensor_parallel_size: 1, max_num_seqs: 256}}}}
gateway: {{policy: {policy}}}
"""


@cache
def simulated_plan(
    folder: Path, nodes: int, gpus: int, policy: str = "least-request", name: str = "many"
) -> Plan:
    """A plan of one simulated GPU per replica."""
    path = folder / f"{name}-{nodes}x{gpus}.yaml"
    path.write_text(FLEET.format(name=name, nodes=nodes, gpus=gpus, policy=policy))
    return plan_for(load_fleet(path), path)


@dataclass
class Many:
    """The head, and the nodes' agents by name."""

    head: RunningFleet
    agents: dict[str, subprocess.Popen[bytes]]
    url: str
    token: str
    ready: Deployment | None = None


@contextmanager
def many_nodes(
    run_dir: Path,
    plan: Plan,
    names: list[str],
    *,
    lease_s: float = 5.0,
    orphan_s: float = 30.0,
    gateways: GatewaySpec | None = None,
) -> Iterator[Many]:
    """All ready; stopped at the end."""
    job = head_job(plan, run_dir, names, lease_s=lease_s, front=gateways is None)
    head = start(job, attached=True)
    many = Many(head, {}, "", token_path(run_dir).read_text().strip())
    try:
        many.url = coordinator_url(run_dir, head.alive)
        link = Link(url=many.url, orphan_s=orphan_s, period_s=0.5)
        for part in assignments(
            plan, names, link, lambda n: run_dir / n, lambda _: "127.0.0.1", gateways=gateways
        ):
            many.agents[part.node] = start_agent(run_dir, part.node, part.model_dump_json(), many)
        many.ready = wait_ready(head)
        yield many
    finally:
        stop(head)
        for agent in many.agents.values():
            agent.wait(timeout=30)


def start_agent(run_dir: Path, node: str, assignment: str, many: Many) -> subprocess.Popen[bytes]:
    """As a target starts it on a machine."""
    folder = run_dir / node
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    (folder / "assignment.json").write_text(assignment)
    with (folder / "logs" / "agent.log").open("ab") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "headrace.node.agent"),
                *("--assignment", str(folder / "assignment.json")),
            ],
            env={**os.environ, "HEADRACE_NODE_TOKEN": many.token},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
