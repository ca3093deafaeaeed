"""Looks at a running fleet every few seconds: its state file, its replicas, its gateways."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

from headrace.dashboard.history import History, Look
from headrace.dashboard.sample import ReplicaSample, read_sample
from headrace.node.http import get
from headrace.planner.plan import Plan
from headrace.targets.deployment import Deployment

PERIOD_S = 2.0
TIMEOUT_S = 1.5
REFUSED = re.compile(
    r'^envoy_http_downstream_rq_xx\{[^}]*envoy_response_code_class="[45]"[^}]*'
    r'envoy_http_conn_manager_prefix="gateway"[^}]*\} (\d+)',
    re.MULTILINE,
)


class Watcher:
    """Keeps the history of a fleet while the page is served."""

    def __init__(self, state: Callable[[], Deployment | None], plan: Plan | None) -> None:
        self._state = state
        self._plan = plan
        self._history = History()
        self._deployment: Deployment | None = None

    async def run(self) -> None:
        """Look over and over, until cancelled."""
        while True:
            began_s = time.monotonic()
            await self.look()
            await asyncio.sleep(max(0.0, PERIOD_S - (time.monotonic() - began_s)))

    async def look(self) -> None:
        """One look."""
        found = self._state()
        if found is None:
            return
        self._deployment = found
        self._history.add(Look(time.monotonic(), await samples(found), await _refused(found)))

    def document(self) -> dict[str, Any]:
        """Everything that the page shows."""
        found = self._deployment
        return {
            "fleet": found.fleet if found else None,
            "simulated": bool(found and found.engine == "simulated"),
            "gateway": found.gateway.model_dump(mode="json") if found and found.gateway else None,
            "rollout": found.rollout.model_dump(mode="json") if found and found.rollout else None,
            "replicas": [
                r.model_dump(mode="json", include={"id", "node", "state", "detail", "restarts"})
                for r in (found.replicas if found else [])
            ],
            "plan": planned(self._plan),
            **self._history.document(time.time() - time.monotonic()),
        }


def planned(plan: Plan | None) -> dict[str, Any] | None:
    """What the plan predicts, by the names of the series; and the goals."""
    if plan is None:
        return None
    predicted, replicas = plan.chosen.prediction, plan.chosen.layout.replicas
    return {
        "title": f"{plan.model} on {plan.chosen.layout.gpus} x {plan.gpu}",
        "total_tok_s": predicted.total_tok_s,
        "output_tok_s": predicted.output_tok_s,
        "ttft_p50_ms": predicted.ttft_ms,
        "ttft_p99_ms": predicted.ttft_p99_ms,
        "tpot_mean_ms": predicted.tpot_ms,
        "tpot_p99_ms": predicted.tpot_p99_ms,
        "running": predicted.concurrency_per_replica * replicas,
        "acceptance": drafts_accepted(plan),
        "goal_ttft_p99_ms": plan.fleet.slo.ttft_p99_ms,
        "goal_tpot_p99_ms": plan.fleet.slo.tpot_p99_ms,
    }


def drafts_accepted(plan: Plan) -> float | None:
    """Share of all drafted tokens that the plan expects to be accepted; None without drafting.

    A draft is accepted only where all before it were, so it is less than the chance of the first.
    """
    depth = int(plan.simulation.get("scheduler", {}).get("mtp_depth", 0))
    first = plan.fleet.workload.acceptance.get("mtp")
    if not depth or first is None:
        return None
    return sum(first**position for position in range(1, depth + 1)) / depth


async def samples(deployment: Deployment) -> dict[str, ReplicaSample]:
    """What every ready replica says of itself; one that does not answer is missing."""
    serving = [r for r in deployment.replicas if r.state == "ready"]
    found = await asyncio.gather(*(_sample(replica.url) for replica in serving))
    return {r.id: s for r, s in zip(serving, found, strict=True) if s is not None}


async def _sample(url: str) -> ReplicaSample | None:
    answer = await get(f"{url}/metrics", TIMEOUT_S)
    if answer is None or answer.status != 200:
        return None
    try:
        return read_sample(answer.body.decode())
    except ValueError:
        return None


async def _refused(deployment: Deployment) -> float:
    """What the gateways answered with 4xx and 5xx, since they started."""
    gateways = [deployment.gateway, *(node.gateway for node in deployment.nodes)]
    pages = await asyncio.gather(*(get(g.metrics_url, TIMEOUT_S) for g in gateways if g))
    texts = [page.body.decode() for page in pages if page is not None and page.status == 200]
    return float(sum(int(count) for text in texts for count in REFUSED.findall(text)))
