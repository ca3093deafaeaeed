"""A fleet on several machines, cut into parts: a head, and an assignment for every machine.

The head is an agent like any other (`targets.local.fleet.start` runs it, `status`, `logs` and
`down` find it): it has the front gateway, and the agents of the machines report to it. A target
that places the machines' agents (Ray, Slurm) does this:

1. `head_job(...)`, `start(job, attached=...)`: the head runs here, and its deployment lists every
   replica as `starting`.
2. `coordinator_url(run_dir)`: where the head takes reports, once it does.
3. `assignments(...)`, one file per machine, and on each machine
   `python -m headrace.node.agent --assignment FILE`, with the token of `token_path(run_dir)` in
   HEADRACE_NODE_TOKEN, or `token_file` in the link where the folder is shared.
4. `wait_ready(fleet)`: as on one machine.
5. `stop(fleet)`: the head tells every agent to drain and end, waits, then ends itself. An agent
   that is sent SIGTERM does the same alone, says so, and the fleet goes on without it.

A machine that vanishes is `lost` after the lease, and its replicas are taken out of the gateway
at once where they refuse connections. An agent whose head vanishes drains and ends by itself.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from headrace.errors import HeadraceError, InputError
from headrace.gateway.admission import gateway_spec
from headrace.node.assignment import DRAIN_TIMEOUT_S, START_TIMEOUT_S, Assignment
from headrace.node.job import CoordinatorSpec, ExpectedNode, GatewaySpec, Link, NodeJob
from headrace.planner.plan import Plan

HEAD = "head"
POLL_S = 0.05


def token_path(run_dir: Path) -> Path:
    """The secret that lets an agent register; readable by this user alone."""
    return run_dir / "node.token"


def url_path(run_dir: Path) -> Path:
    """Where the head writes the address at which it takes reports."""
    return run_dir / "coordinator.url"


def write_token(run_dir: Path) -> Path:
    """Draw a new secret and write it; returns where."""
    path = token_path(run_dir)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(secrets.token_urlsafe(32) + "\n", encoding="ascii")
    return path


def shares(plan: Plan, nodes: Sequence[str]) -> list[ExpectedNode]:
    """The replicas of every machine, numbered through the fleet.

    Raises InputError when the plan is for another number of machines.
    """
    layout = plan.chosen.layout
    if len(nodes) != layout.nodes:
        raise InputError(
            f"the plan is for {layout.nodes} nodes, but {len(nodes)} are to be used",
            hint="set hardware.nodes to the number of machines and plan again",
        )
    each = layout.replicas_per_node
    return [
        ExpectedNode(name=name, replicas=[f"r{n}" for n in range(i * each, (i + 1) * each)])
        for i, name in enumerate(nodes)
    ]


def head_job(
    plan: Plan,
    run_dir: Path,
    nodes: Sequence[str],
    *,
    coordinator_host: str = "127.0.0.1",
    coordinator_port: int = 0,
    gateway_host: str | None = None,
    gateway_port: int = 0,
    front: bool = True,
    lease_s: float = 5.0,
    start_timeout_s: float | None = None,
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
) -> NodeJob:
    """The head's job; writes a new token. `front` false: clients spread over the nodes' gateways.

    `coordinator_host` must be one that the machines reach, which makes it one that others may
    reach too: the token keeps them out.
    """
    return NodeJob(
        fleet=plan.fleet.name,
        run_dir=run_dir.resolve(),
        node=HEAD,
        processes=[],
        gateway=gateway_spec(plan, gateway_port, gateway_host) if front else None,
        start_timeout_s=start_timeout_s or START_TIMEOUT_S[plan.fleet.engine.kind],
        drain_timeout_s=drain_timeout_s,
        coordinator=CoordinatorSpec(
            engine=plan.fleet.engine.kind,
            nodes=shares(plan, nodes),
            token_file=write_token(run_dir.resolve()),
            host=coordinator_host,
            port=coordinator_port,
            lease_s=lease_s,
        ),
    )


def assignments(
    plan: Plan,
    nodes: Sequence[str],
    link: Link | None,
    run_dir_of: Callable[[str], Path],
    host_of: Callable[[str], str],
    *,
    gateways: GatewaySpec | None = None,
    start_timeout_s: float | None = None,
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
) -> list[Assignment]:
    """What every machine is to run; `gateways` puts one on each of them.

    Without a link the agents report to nobody: each machine is then a fleet of its own.
    """
    return [
        Assignment(
            plan=plan,
            node=share.name,
            first_replica=int(share.replicas[0][1:]),
            replicas=len(share.replicas),
            run_dir=run_dir_of(share.name),
            host=host_of(share.name),
            gateway=gateways,
            link=link,
            start_timeout_s=start_timeout_s,
            drain_timeout_s=drain_timeout_s,
        )
        for share in shares(plan, nodes)
    ]


def coordinator_url(run_dir: Path, alive: Callable[[], bool], timeout_s: float = 30.0) -> str:
    """Where the head of this run takes reports. Waits for it while `alive()`.

    Raises HeadraceError when the head ended, or said nothing in time.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and alive():
        if url_path(run_dir).exists():
            return url_path(run_dir).read_text(encoding="ascii").strip()
        time.sleep(POLL_S)
    raise HeadraceError(
        "the fleet's head does not take reports", hint=f"its log: {run_dir}/logs/agent.log"
    )
