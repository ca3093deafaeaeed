"""The search's own rules, on the real model and GPU."""

from typing import Any

import pytest

from headrace.cli.plan import plan_for
from headrace.errors import InfeasibleError
from headrace.planner.plan import Plan
from headrace.spec.fleet import Fleet

pytestmark = pytest.mark.compute


def plan(**changes: Any) -> Plan:
    document: dict[str, Any] = {
        "model": "Qwen/Qwen3.5-27B-FP8",
        "hardware": {"gpu": "H200", "gpus_per_node": 1},
        "engine": {"version": "0.26.0"},
    }
    for path, value in changes.items():
        part = document
        *parents, key = path.split("__")
        for parent in parents:
            part = part.setdefault(parent, {})
        part[key] = value
    return plan_for(Fleet.model_validate(document))


def test_no_mtp_at_saturation_and_mtp_at_low_concurrency() -> None:
    saturated, alone = plan(), plan(workload__concurrency=4)
    assert "speculative_config" not in saturated.chosen.engine_args
    assert alone.chosen.engine_args["speculative_config"]["num_speculative_tokens"] >= 1


@pytest.mark.parametrize("concurrency", [16, 64, 200])
@pytest.mark.parametrize("gpu", ["H100", "H200", "B200"])
def test_nothing_that_was_turned_down_is_quicker(gpu: str, concurrency: int) -> None:
    """What follows the search (slots that memory cannot fill go) costs the choice no speed."""
    made = plan(hardware__gpu=gpu, workload__concurrency=concurrency)
    changes = [
        float(row.reason.split(" %")[0]) for row in made.rejected if " % tok/s" in row.reason
    ]
    assert max(changes) < 5.0  # drafting must gain that


def test_a_slow_host_costs_most_where_steps_are_short() -> None:
    changes = {"workload__concurrency": 64}, {"workload__concurrency": 512}
    few, many = (
        plan(**change, hardware__host_time=1.6).chosen.prediction.total_tok_s
        / plan(**change).chosen.prediction.total_tok_s
        for change in changes
    )
    assert few < many <= 1.0
    assert few < 0.95


def test_a_plan_says_that_the_host_beside_its_gpu_was_not_measured() -> None:
    def says(**changes: Any) -> list[str]:
        return [line for line in plan(**changes).chosen.why if "hosts beside Hopper" in line]

    (line,) = says(hardware__gpu="B200", workload__concurrency=64)
    assert "114 ms to launch one" in line
    assert says(workload__concurrency=64) == []
    assert says(hardware__gpu="B200", workload__concurrency=64, hardware__host_time=0.1) == []


def test_the_slo_is_kept_and_costs_throughput() -> None:
    free, bound = plan(), plan(slo__tpot_p99_ms=50)
    assert bound.chosen.prediction.tpot_p99_ms <= 50
    assert bound.chosen.prediction.total_tok_s < free.chosen.prediction.total_tok_s


def test_args_win_over_the_plan() -> None:
    made = plan(engine__args={"max_num_seqs": 48, "kv-cache-dtype": "auto"})
    assert made.chosen.engine_args["max_num_seqs"] == 48
    assert made.chosen.engine_args["kv_cache_dtype"] == "auto"
    assert made.chosen.max_running == 48
    assert any("set by the file" in line for line in made.chosen.why)


def test_unplanned_is_one_candidate_with_vllms_defaults() -> None:
    made = plan(engine__planned=False)
    assert made.searched == 1
    assert "mamba_ssm_cache_dtype" not in made.chosen.engine_args


def test_the_known_crash_is_turned_down() -> None:
    made = plan(
        engine__version="0.18.0",
        workload__acceptance={"mtp": 1.0},
    )
    reasons = " ".join(row.reason for row in made.rejected)
    assert "cudaErrorIllegalAddress" in reasons


def test_a_model_that_cannot_fit_is_infeasible_and_says_what_would_help() -> None:
    with pytest.raises(InfeasibleError, match="does not fit") as caught:
        plan(model="meta-llama/Llama-3.1-405B-Instruct", hardware__gpu="L40S")
    assert caught.value.hint
    assert "more memory" in caught.value.hint


def test_an_slo_out_of_reach_names_the_nearest_miss() -> None:
    with pytest.raises(InfeasibleError, match="nearest miss: TPOT p99"):
        plan(slo__tpot_p99_ms=0.5)


def test_the_pareto_front_rises_with_tpot() -> None:
    front = plan().pareto
    assert len(front) > 3
    assert [p.tpot_ms for p in front] == sorted(p.tpot_ms for p in front)
    speeds = [p.total_tok_s_per_gpu for p in front]
    assert speeds == sorted(speeds)


def test_a_stated_rate_gives_the_fewest_requests_in_flight() -> None:
    made = plan(workload__request_rate=2.0)
    prediction = made.chosen.prediction
    assert prediction.request_s >= 1.99
    assert prediction.concurrency_per_replica < made.chosen.max_running


def test_cost_follows_the_price() -> None:
    cheap = plan(hardware__usd_per_gpu_hour=1.0).chosen.prediction
    dear = plan(hardware__usd_per_gpu_hour=4.0).chosen.prediction
    assert cheap.usd_per_million_tokens is not None
    assert dear.usd_per_million_tokens == pytest.approx(4 * cheap.usd_per_million_tokens)
    tokens_an_hour = cheap.total_tok_s * 3600
    assert cheap.usd_per_million_tokens == pytest.approx(1.0 / tokens_an_hour * 1e6)


def test_a_plan_survives_json() -> None:
    made = plan()
    assert Plan.model_validate_json(made.model_dump_json()) == made
