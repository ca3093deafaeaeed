import pytest

from headrace.cli.plan import plan_for
from headrace.errors import InputError
from headrace.tuner.setup import Wanted, prepare
from tests.tuner.options import fleet, setup


def test_the_plans_choice_comes_first_and_is_one_of_the_options():
    made = setup()
    args = plan_for(fleet()).chosen.engine_args
    assert [option.fleet.engine.args for option in made.first] == [args]
    assert made.first[0].key in {option.key for option in made.options}
    assert {option.levers["mtp_depth"] for option in made.options} == {0, 1, 2, 3, 5}


def test_every_option_is_settled_and_plans_to_itself():
    for option in setup().options:
        plan = plan_for(option.fleet)
        assert plan.chosen.engine_args == option.fleet.engine.args
        assert plan.searched == 1
        assert plan.chosen.prediction.total_tok_s == pytest.approx(option.predicted_tok_s)


def test_an_option_that_the_model_does_not_know_multiplies_the_space():
    made = setup(Wanted({"stream_interval": [4, 1]}))
    assert made.unknown == ["stream_interval"]
    assert made.first[0].levers["stream_interval"] == 4
    assert made.first[0].fleet.engine.args["stream_interval"] == 4
    assert len(made.options) == 2 * len(setup().options)


def test_a_lever_under_vllms_own_name_stays_that_lever():
    made = setup(Wanted({"max_num_batched_tokens": [2048, 8192]}))
    assert made.unknown == []
    assert {o.levers["max_num_batched_tokens"] for o in made.options} == {2048, 8192}


def test_a_baseline_is_tried_before_the_plans_choice():
    base = fleet(speculative_config={"method": "mtp", "num_speculative_tokens": 5})
    made = setup(Wanted({}, baseline=base))
    assert made.first[0].levers["mtp_depth"] == 5
    assert made.first[1].key == setup().first[0].key


def test_a_baseline_is_predicted_under_its_own_load():
    base = fleet(speculative_config={"method": "mtp", "num_speculative_tokens": 5})
    load = base.workload.model_copy(update={"concurrency": 2})
    made = setup(Wanted({}, baseline=base.model_copy(update={"workload": load})))
    predicted = made.predictions(made.constants)
    assert [option.levers["concurrency"] for option in made.first] == [2, 8]
    for option in made.first:
        assert predicted[option.key] == pytest.approx(option.predicted_tok_s)
    assert {option.levers["concurrency"] for option in made.options} == {8}


def test_a_baseline_with_other_work_is_refused():
    base = fleet()
    other = base.workload.model_copy(update={"input_tokens": 128})
    with pytest.raises(InputError, match="input_tokens is 128"):
        setup(Wanted({}, baseline=base.model_copy(update={"workload": other})))


def test_another_checkpoint_is_a_lever():
    rowwise = "headrace/Qwen3.5-27B-FP8-rowwise"
    both = fleet().model_copy(update={"checkpoints": [rowwise]})
    made = prepare(both, Wanted({}), plan_for)
    assert {option.levers["checkpoint"] for option in made.options} == {
        "Qwen/Qwen3.5-27B-FP8",
        rowwise,
    }
    assert set(made.predictions(made.constants)) == {o.key for o in [*made.options, *made.first]}
