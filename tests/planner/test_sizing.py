"""How many GPUs a rate needs."""

import math
from typing import Any

import pytest

from headrace.cli.plan import plan_for
from headrace.errors import InfeasibleError, InputError
from headrace.planner.plan import Plan
from headrace.planner.what_if import changed, stated
from headrace.spec.fleet import Fleet
from headrace.spec.load import parse_fleet

pytestmark = pytest.mark.compute


def fleet(rate: float = 100.0, **parts: Any) -> Fleet:
    document = {
        "model": "Qwen/Qwen3.5-27B-FP8",
        "goal": "fewest-gpus",
        "hardware": {"gpu": "B200", "gpus_per_node": 8},
        "workload": {"request_rate": rate},
        "slo": {"tpot_p99_ms": 60},
        "engine": {"args": {"max_num_batched_tokens": 8192, "max_model_len": 2048}},
    }
    return Fleet.model_validate(document | parts)


def plan(rate: float = 100.0, **parts: Any) -> Plan:
    return plan_for(fleet(rate, **parts))


def test_a_rate_is_served_by_as_few_replicas_as_keep_the_goals() -> None:
    made = plan()
    layout, prediction = made.chosen.layout, made.chosen.prediction
    assert prediction.request_s == pytest.approx(100, rel=0.01)
    assert prediction.tpot_p99_ms <= 60
    most = plan(workload={}, goal="throughput").chosen.prediction.request_s / 8
    assert 100 / most <= layout.replicas <= 100 / most + 2


def test_as_many_nodes_as_are_needed_and_the_last_may_be_part_full() -> None:
    layout = plan(150).chosen.layout
    assert layout.nodes == math.ceil(layout.replicas / 8)
    assert layout.replicas_per_node == math.ceil(layout.replicas / layout.nodes)


def test_spare_replicas_come_on_top_and_the_reason_is_given() -> None:
    none, two = plan(), plan(spare_replicas=2)
    assert two.chosen.layout.replicas == none.chosen.layout.replicas + 2
    assert any(line.startswith("2 to spare: with 2 lost") for line in two.chosen.why)
    assert two.chosen.prediction.tpot_ms < none.chosen.prediction.tpot_ms


def test_too_few_nodes_are_infeasible_and_say_how_many_would_do() -> None:
    hardware = {"gpu": "B200", "gpus_per_node": 8, "nodes": 1}
    with pytest.raises(
        InfeasibleError, match=r"need \d+ replicas and 0 spare on 2 nodes"
    ) as caught:
        plan(150, hardware=hardware)
    assert "set hardware.nodes to 2" in (caught.value.hint or "")


def test_total_tokens_per_second_are_a_rate_too() -> None:
    by_tokens = plan(workload={"token_rate": 153_600}).chosen.layout
    assert by_tokens == plan(100).chosen.layout


def test_cost_counts_whole_nodes() -> None:
    """Nodes of three: a TP-2 replica leaves one GPU idle, and it is paid for."""
    parts: dict[str, Any] = {
        "goal": "cost",
        "hardware": {"gpu": "B200", "gpus_per_node": 3, "usd_per_gpu_hour": 3.0},
    }
    made = plan(20, **parts)
    hours = made.fleet.hardware.nodes * 3 * 3.0
    prediction = made.chosen.prediction
    expected = hours / (prediction.total_tok_s * 3600) * 1e6
    assert prediction.usd_per_million_tokens == pytest.approx(expected)


def test_cost_without_a_rate_prefers_gpus_that_are_used() -> None:
    hardware = {"gpu": "L40S", "gpus_per_node": 3}
    chosen = plan(goal="cost", workload={}, hardware=hardware, slo={}).chosen
    assert chosen.layout.gpus in (2, 3)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("goal: fewest-gpus", "3:7: goal: fewest for which load? add workload.request_rate"),
        ("spare_replicas: 1", "3:17: spare_replicas: spare for which load?"),
        ("goal: cheap", "3:7: goal: expected one of throughput, cost, fewest-gpus; got cheap"),
        ("workload: {request_rate: 1, token_rate: 2}", "workload.token_rate: given together"),
        ("workload: {token_rate: 1, concurrency: 2}", "3:12: workload.token_rate: given together"),
    ],
)
def test_what_cannot_be_sized_is_told(lines: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_fleet(f"model: x\nhardware: {{gpu: B200}}\n{lines}\n", "fleet.yaml")
    assert says in str(caught.value)


def test_options_take_the_place_of_the_files_load() -> None:
    held = fleet(workload={"concurrency": 10}, goal="throughput")
    asked = [
        stated("--goal", "goal", "fewest-gpus"),
        stated("--rate", "workload.request_rate", 5.0),
    ]
    made = changed(held, asked)
    assert (made.goal, made.workload.request_rate, made.workload.concurrency) == (
        "fewest-gpus",
        5.0,
        "auto",
    )
    with pytest.raises(InputError, match=r"--rate -1: workload\.request_rate: expected") as caught:
        changed(held, [stated("--rate", "workload.request_rate", -1.0)])
    assert "plan --help" in (caught.value.hint or "")
