"""Small fleets in both implementations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headrace.perf.replica import ReplicaModel
from headrace.perf.step import StepModel
from headrace.scheduler.spec import CacheSpec, SchedulerSpec
from headrace.simulator.scenario import Scenario
from headrace.simulator.workload import Workload

STEP = StepModel(
    verified=2.0,
    grid=(1.0, 8.0, 64.0, 512.0),
    gemm_s=(0.004, 0.0041, 0.006, 0.03),
    head_s=(0.0005, 0.0005, 0.0011, 0.004),
    sample_s_per_row=1e-6,
    attention_s=1e-4,
    attention_s_per_context_token=3e-8,
    state_s_per_sequence=2e-5,
    prefill_attention_s_per_context_token=1e-9,
    prefill_state_s_per_token=1e-7,
    elementwise_s_per_token=2e-6,
    collective_s=1e-4,
    collective_s_per_token=1e-7,
    draft_s=5e-4,
    draft_s_per_sequence=1e-6,
    host_s=2e-3,
    host_s_per_sequence=1e-5,
    mixed_s=1e-3,
    launch_s=1e-2,
    piecewise_s=8e-3,
    mixed_state=1.4,
    captured=(1.0, 2.0, 4.0, 8.0, 16.0, 24.0),
)


def model(
    step: StepModel = STEP, *, pages: int = 60, page_tokens: int = 16, groups: int = 1, **spec: Any
) -> ReplicaModel:
    state_pages = spec.pop("state_pages", 1)
    limits = {
        "max_num_seqs": 8,
        "max_num_batched_tokens": 64,
        "max_model_len": 400,
        "mtp_depth": 1,
        "acceptance": 0.7,
        **spec,
    }
    cache = CacheSpec(pages, page_tokens, groups, state_pages)
    return ReplicaModel(step, SchedulerSpec(cache=cache, **limits))


@dataclass
class Script:
    """What happens to a fleet at times: (seconds, "fail" | "start" | "out" | "in", replica)."""

    acts: list[tuple[float, str, int]] = field(default_factory=list)


def run(make: Any, scenario: Scenario, load: Workload, until_s: float, script: Script) -> Any:
    """Advance a fleet through a script; a table that is used up grows by little, to test that."""
    requests = load.requests(until_s)
    warm = load.warm_lengths() if load.closed else None
    fleet = make(scenario, requests, load.closed, warm)
    healthy = set(range(scenario.replicas))
    balance(fleet, scenario, healthy)
    for at_s, act, replica in [*sorted(script.acts), (until_s, "", 0)]:
        while not fleet.advance(min(at_s, until_s)):
            fleet.requests.append(load.block(50))
        if act in ("fail", "start"):
            getattr(fleet, act)(replica)
        elif act:
            (healthy.discard if act == "out" else healthy.add)(replica)
            balance(fleet, scenario, healthy)
    return fleet


def balance(fleet: Any, scenario: Scenario, healthy: set[int]) -> None:
    for gateway in range(scenario.gateways.count):
        for role in (0, 1):
            ids = [r for r in sorted(healthy) if scenario.role_of[r] == role]
            fleet.set_backends(gateway, role, np.array(ids, np.int64))
