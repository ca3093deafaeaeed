"""Requests that follow several at a time, on H200 whose steps with prompts wait for the host."""

from pathlib import Path

import pytest

from headrace.cli.plan import plan_for
from headrace.simulator.case import case_of
from headrace.simulator.simulation import simulate
from headrace.spec.load import load_fleet

pytestmark = pytest.mark.compute
FLEET = Path(__file__).parents[2] / "benchmarks/gpu/fleets/tensor.yaml"


def per_replica(
    replicas: int, policy: str, refill: int, concurrency: int = 256, batched: int = 4096
) -> tuple[float, float]:
    """Total tokens per second of one of so many replicas: by the formula, and simulated."""
    fleet = load_fleet(FLEET)
    args = {**fleet.engine.args, "max_num_seqs": 768, "max_num_batched_tokens": batched}
    fleet = fleet.model_copy(update={"engine": fleet.engine.model_copy(update={"args": args})})
    load = fleet.workload.model_copy(
        update={"concurrency": concurrency * replicas, "refill": refill * replicas}
    )
    hardware = fleet.hardware.model_copy(update={"gpus_per_node": replicas})
    gateway = fleet.gateway.model_copy(update={"policy": policy})
    changed = {"workload": load, "hardware": hardware, "gateway": gateway}
    plan = plan_for(fleet.model_copy(update=changed))
    found = simulate(case_of(plan).setup(60.0))
    return plan.chosen.prediction.total_tok_s / replicas, found.total_tok_s / replicas


@pytest.mark.parametrize("refill", [2, 3, 4, 6])
def test_prompts_that_share_a_step_are_worth_what_the_plan_says(refill: int) -> None:
    """Four with 252 that decode exceed the token budget by a little and take two steps."""
    formula, simulated = per_replica(1, "none", refill)
    assert formula == pytest.approx(simulated, rel=0.02)
    assert (simulated > 1.2 * per_replica(1, "none", 1)[1]) == (refill != 4)


@pytest.mark.parametrize(
    ("batched", "concurrency", "refill"), [(2048, 512, 4), (2048, 768, 3), (4096, 512, 6)]
)
def test_prompts_beyond_the_token_budget_take_several_steps(
    batched: int, concurrency: int, refill: int
) -> None:
    formula, simulated = per_replica(1, "none", refill, concurrency, batched)
    assert formula == pytest.approx(simulated, rel=0.03)


def test_each_replica_without_a_gateway_has_its_share() -> None:
    formula, simulated = per_replica(4, "none", 3)
    assert formula == pytest.approx(simulated, rel=0.02)


def test_a_gateway_that_counts_requests_keeps_most_of_them_together() -> None:
    formula, simulated = per_replica(4, "least-request", 3)
    assert 0.91 * formula < simulated < formula
    assert simulated > 1.04 * per_replica(4, "least-request", 1)[1]
