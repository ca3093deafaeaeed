"""Other checkpoints of the same model as a lever."""

from itertools import pairwise
from typing import Any

import pytest

from headrace.cli.plan import plan_for
from headrace.errors import InfeasibleError, InputError
from headrace.hardware.load import load_gpu
from headrace.models.load import load_model
from headrace.perf.load import current_constants
from headrace.planner.checkpoints import Checkpoint, choose
from headrace.planner.compare import CHECKPOINT, Ground, compare
from headrace.planner.plan import Plan
from headrace.spec.fleet import Fleet
from headrace.spec.load import load_fleet

pytestmark = pytest.mark.compute

BLOCK, TENSOR = "Qwen/Qwen3.5-27B-FP8", "headrace/Qwen3.5-27B-FP8-tensor"
MOE, MOE_4BIT = "Qwen/Qwen3.5-122B-A10B-FP8", "nvidia/Qwen3.5-122B-A10B-NVFP4"


def fleet(model: str, *others: str, gpu: str = "H200", **parts: Any) -> Fleet:
    args = {"max_num_batched_tokens": 8192, "tensor_parallel_size": parts.pop("tp", 1)}
    document = {
        "model": model,
        "checkpoints": others,
        "hardware": {"gpu": gpu, "gpus_per_node": 8},
        "slo": {"tpot_p99_ms": 60},
        "engine": {"args": args},
    }
    return Fleet.model_validate(document | parts)


def plan(model: str, *others: str, **parts: Any) -> Plan:
    return plan_for(fleet(model, *others, **parts))


def test_the_quicker_format_is_chosen_and_served_and_the_risk_is_said() -> None:
    made = plan(BLOCK, TENSOR, "Qwen/Qwen3.5-27B")
    assert made.fleet.model == made.model == TENSOR
    assert f"serve {TENSOR}" in made.chosen.command
    gains = {row.model: row.gain for row in made.checkpoints}
    assert gains[BLOCK] is None
    assert (gains[TENSOR] or 0) > 0 > (gains["Qwen/Qwen3.5-27B"] or 0)
    assert any("check your own accuracy metric" in line for line in made.chosen.why)


def test_the_files_own_model_among_equals() -> None:
    made = plan("Qwen/Qwen3-Next-80B-A3B-Instruct", "Qwen/Qwen3-Next-80B-A3B-Thinking", tp=4)
    assert made.model == "Qwen/Qwen3-Next-80B-A3B-Instruct"


def test_four_bits_are_not_chosen_where_nobody_measured_them() -> None:
    made = plan(MOE, MOE_4BIT, gpu="B200", tp=2)
    assert made.model == MOE
    row = made.checkpoints[1]
    assert (row.chosen, row.weights_dtype) == (False, "nvfp4")
    assert "not measured on B200" in (row.reason or "")
    assert row.total_tok_s_per_gpu is not None
    with pytest.raises(InfeasibleError):
        plan(MOE, MOE_4BIT, gpu="L40S", tp=1)


def test_measured_four_bits_are_a_choice_like_any_other() -> None:
    """As after `headrace calibrate` of a run with such weights."""
    constants = current_constants()
    measured = constants.calibration_of("0.33.0", load_model(MOE_4BIT), load_gpu("B200"))
    pairs = (*measured.measured, "B200/nvfp4")
    own = measured.model_copy(update={"name": "own", "measured": pairs})
    known = constants.model_copy(update={"calibration": (own, *constants.calibration)})
    wanted = fleet(MOE, MOE_4BIT, gpu="B200", tp=2)
    block, four = (Checkpoint(name, load_model(name)) for name in (MOE, MOE_4BIT))
    best = choose(wanted, block, [four], load_gpu("B200"), known)
    assert [row.chosen for row in best.rows] == [False, True]


def test_another_model_is_no_checkpoint(tmp_path: Any) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(
        f"model: {BLOCK}\nhardware: {{gpu: H200}}\ncheckpoints:\n  - Qwen/Qwen3-32B-FP8\n"
    )
    with pytest.raises(InputError, match=r"yaml:4:5: checkpoints\.0: .*is another model than"):
        plan_for(load_fleet(file), file)


def test_a_folder_that_is_not_there_is_named(tmp_path: Any) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(f"model: {BLOCK}\nhardware: {{gpu: H200}}\ncheckpoints: [./none]\n")
    with pytest.raises(InputError, match=r"3:15: checkpoints\.0: \./none: there is no such folder"):
        load_fleet(file)


@pytest.mark.parametrize(("model", "other"), [("Qwen/Qwen3.5-27B", BLOCK), (BLOCK, TENSOR)])
def test_the_checkpoint_is_the_first_step_of_a_comparison(model: str, other: str) -> None:
    base, made = plan(model), plan(model, other)
    grounds = [
        Ground(load_model(name), load_gpu("H200"), current_constants()) for name in (model, other)
    ]
    rows = compare(base, made, *grounds)
    assert rows[1].setting == CHECKPOINT
    if other == BLOCK:  # the other one is quicker only with the kernel that the next step asks for
        assert (rows[1].gain or 0) > 0 > (rows[1].without or 0)
    for before, row in pairwise(rows):
        assert row.gain == pytest.approx(row.total_tok_s / before.total_tok_s - 1)
    assert rows[-1].total_tok_s > rows[0].total_tok_s
    assert rows[-1].total_tok_s == pytest.approx(made.chosen.prediction.total_tok_s)
