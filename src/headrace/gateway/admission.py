"""How much a fleet lets in before it says 429, so that queues do not hurt the SLO."""

from __future__ import annotations

import math
from pathlib import Path

from headrace.node.job import GatewaySpec, Tls
from headrace.planner.plan import Plan

MEGABYTE = 1_000_000


def in_flight_limit(plan: Plan) -> int | None:
    """Requests in flight per replica; None: no limit.

    `auto` lets in what runs at once, and what may wait within the SLO: by Little's law the rate of
    the replica's requests times what the predicted TTFT leaves of the goal. Without a goal for TTFT
    no queue is too long.
    """
    asked = plan.fleet.gateway.max_in_flight
    if asked != "auto":
        return asked
    goal_ms, predicted = plan.fleet.slo.ttft_p99_ms, plan.chosen.prediction
    if goal_ms is None:
        return None
    rate_s = predicted.request_s / plan.chosen.layout.replicas
    spare_s = max(0.0, goal_ms - predicted.ttft_p99_ms) / 1000.0
    return plan.chosen.max_running + math.floor(rate_s * spare_s)


def gateway_spec(plan: Plan, port: int = 0, host: str | None = None) -> GatewaySpec | None:
    """The gateway that a plan's fleet asks for; None when clients call the replicas."""
    wanted = plan.fleet.gateway
    if wanted.policy == "none":
        return None
    tls = Tls.model_validate(wanted.tls.model_dump()) if wanted.tls else None
    return GatewaySpec(
        policy=wanted.policy,
        host=host or wanted.host,
        port=port,
        keys_file=Path(wanted.keys_file) if wanted.keys_file else None,
        tls=tls,
        in_flight_per_replica=in_flight_limit(plan),
        retry_after_s=retry_after_s(plan) if wanted.max_in_flight else 1,
        max_body_bytes=round(wanted.max_body_mb * MEGABYTE),
        access_log_share=wanted.access_log_share,
    )


def retry_after_s(plan: Plan) -> int:
    """When a place is likely free: the time between two answers of the fleet, a second at least."""
    return max(1, math.ceil(1.0 / max(plan.chosen.prediction.request_s, 1e-3)))
