from typing import Any

import pytest

from headrace.hardware.load import load_gpu
from headrace.models.load import load_model
from headrace.perf.constants import load_constants
from headrace.planner.compare import (
    LOAD,
    ORDER,
    Ground,
    Step,
    compare,
    config_of,
    differing_fields,
)
from headrace.planner.evaluate import Candidate, Evaluator
from headrace.planner.make import make_plan
from headrace.planner.plan import Plan
from headrace.planner.rank import Ranked, on_gpu, quick_plan, rank_on, ranked
from headrace.spec.fleet import Fleet

pytestmark = pytest.mark.compute

QWEN = "Qwen/Qwen3.5-27B-FP8"
PUBLISHED = {
    "max_model_len": 4096,
    "kv_cache_dtype": "fp8",
    "speculative_config": {"method": "mtp", "num_speculative_tokens": 1},
}
FEW = {"max_num_batched_tokens": 8192, "max_model_len": 2048}
"""Settled in most tests, so that a search takes milliseconds."""


def fleet(
    args: dict[str, Any], *, version: str = "0.33.0", gpu: str = "B200", **more: Any
) -> Fleet:
    parts = {
        "model": QWEN,
        "hardware": {"gpu": gpu, "gpus_per_node": 2},
        "slo": {"tpot_p99_ms": 60},
        "engine": {"version": version, "args": args},
    }
    return Fleet.model_validate(parts | more)


def published(**args: Any) -> Fleet:
    engine = {"version": "0.18.0", "planned": False, "args": PUBLISHED | args}
    return fleet({}, engine=engine, workload={"concurrency": 320}, slo={})


def ground(model: str = QWEN, gpu: str = "B200") -> Ground:
    return Ground(load_model(model), load_gpu(gpu), load_constants())


def plan(wanted: Fleet) -> Plan:
    on = ground(wanted.model, wanted.hardware.gpu)
    return make_plan(wanted, on.facts, on.gpu, on.constants)


def steps(base: Fleet, chosen: Fleet) -> tuple[Plan, Plan, list[Step]]:
    made = plan(base), plan(chosen)
    return *made, compare(*made, ground(chosen.model, chosen.hardware.gpu))


def test_it_starts_at_one_plan_and_ends_at_the_other() -> None:
    base, chosen, rows = steps(published(), fleet(FEW))
    first, last = rows[0], rows[-1]
    assert first.setting is None
    assert first.total_tok_s == pytest.approx(base.chosen.prediction.total_tok_s)
    assert last.setting == "version"
    assert last.feasible
    assert last.total_tok_s == pytest.approx(chosen.chosen.prediction.total_tok_s)
    assert last.tpot_ms == pytest.approx(chosen.chosen.prediction.tpot_ms)


def test_one_setting_at_a_time_in_the_fixed_order() -> None:
    rows = steps(published(), fleet(FEW))[2][1:]
    names = [row.setting for row in rows]
    assert names == [name for name in ORDER if name in names]
    assert {"max_model_len", "max_num_seqs", LOAD, "version"} <= set(names)
    assert all(row.before != row.after for row in rows)


def test_gains_multiply_to_the_whole() -> None:
    base, chosen, rows = steps(published(), fleet(FEW))
    product = 1.0
    for row in rows[1:]:
        product *= 1 + (row.gain or 0.0)
    whole = chosen.chosen.prediction.total_tok_s / base.chosen.prediction.total_tok_s
    assert product == pytest.approx(whole)


def test_a_step_that_misses_the_goal_has_its_figures_and_the_reason() -> None:
    rows = steps(published(), fleet(FEW))[2]
    load = next(row for row in rows if row.setting == LOAD)
    assert not load.feasible
    assert load.total_tok_s is not None
    assert "misses the SLO of 60" in (load.reason or "")


def test_a_step_that_cannot_run_says_so_and_the_next_ones_go_on() -> None:
    """MTP depth 5 crashes vLLM 0.18, and the version comes after it."""
    deep = {**FEW, "speculative_config": {"method": "mtp", "num_speculative_tokens": 5}}
    _, chosen, rows = steps(published(), fleet(deep))
    mtp = next(row for row in rows if row.setting == "mtp_depth")
    assert not mtp.feasible
    assert mtp.total_tok_s is None
    assert mtp.gain is None
    assert "crashes vLLM 0.18" in (mtp.reason or "")
    assert rows[-1].total_tok_s == pytest.approx(chosen.chosen.prediction.total_tok_s)
    assert rows[-1].gain == pytest.approx((rows[-1].total_tok_s or 0) / _total(rows[0]) - 1)


def _total(row: Step) -> float:
    assert row.total_tok_s is not None
    return row.total_tok_s


def test_a_fleet_against_itself_has_nothing_to_change() -> None:
    rows = steps(published(), published())[2]
    assert [row.setting for row in rows] == [None]


def test_dummy_weights_stay_dummy_in_a_comparison() -> None:
    engine = {"version": "0.26.0", "load_format": "dummy", "args": FEW}
    made, on = plan(fleet({}, gpu="H200", engine=engine)), ground(gpu="H200")
    given = made.chosen.prediction.concurrency_per_replica
    again = Evaluator(made.fleet, on.facts, on.gpu, on.constants).judge(config_of(made, on), given)
    assert isinstance(again, Candidate)
    assert again.total_tok_s == pytest.approx(made.chosen.prediction.total_tok_s)


@pytest.mark.parametrize("model", [QWEN, "openai/gpt-oss-120b", "Qwen/Qwen3.5-35B-A3B-FP8"])
def test_a_plans_options_are_its_whole_configuration(model: str) -> None:
    made = plan(fleet(FEW, model=model))
    on = ground(model)
    given = made.chosen.prediction.concurrency_per_replica
    again = Evaluator(made.fleet, on.facts, on.gpu, on.constants).judge(config_of(made, on), given)
    assert isinstance(again, Candidate)
    assert again.total_tok_s == pytest.approx(made.chosen.prediction.total_tok_s)


def test_fleets_must_agree_in_what_is_no_setting() -> None:
    other = fleet(FEW, hardware={"gpu": "B200"}, workload={"output_tokens": 9, "concurrency": 5})
    assert differing_fields(fleet(FEW), other) == {
        "hardware.gpus_per_node": (2, 1),
        "workload.output_tokens": (512, 9),
    }
    assert differing_fields(fleet(FEW), published()) == {}


def test_a_quick_plan_is_the_plan() -> None:
    wanted = fleet({"max_num_seqs": 128}, gpu="H200")
    on = ground(gpu="H200")
    quick, whole = quick_plan(wanted, on.facts, on.gpu), plan(wanted)
    assert quick.chosen.prediction == whole.chosen.prediction
    assert quick.chosen.engine_args == whole.chosen.engine_args
    assert quick.searched < whole.searched / 1.5


def test_a_gpu_that_is_too_small_has_a_reason() -> None:
    wanted = fleet(FEW, gpu="L40S", model="meta-llama/Llama-3.3-70B-Instruct")
    row = rank_on(wanted, load_model(wanted.model), load_gpu("L40S"))
    assert not row.feasible
    assert "does not fit" in (row.reason or "")
    assert row.total_tok_s is None


def test_the_cheapest_token_comes_first_and_what_cannot_run_last() -> None:
    rows = [
        Ranked(gpu="no", feasible=False),
        Ranked(gpu="unpriced", feasible=True, total_tok_s_per_gpu=9.0),
        Ranked(gpu="dear", feasible=True, usd_per_million_tokens=2.0),
        Ranked(gpu="cheap", feasible=True, usd_per_million_tokens=1.0),
    ]
    assert [row.gpu for row in ranked(rows)] == ["cheap", "dear", "unpriced", "no"]


def test_a_files_price_holds_for_its_own_gpu() -> None:
    own = fleet(FEW, hardware={"gpu": "B200", "usd_per_gpu_hour": 1.0})
    assert on_gpu(own, "B200", own=True).hardware.usd_per_gpu_hour == 1.0
    other = on_gpu(own, "H200", own=False).hardware
    assert (other.gpu, other.usd_per_gpu_hour) == ("H200", None)
