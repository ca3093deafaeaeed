"""Random weights and acceptance by chance: which options they become, and how results say so."""

import pytest

from headrace.engines.vllm.stand_ins import described, stand_ins, with_stand_ins
from headrace.errors import InputError
from headrace.spec.fleet import Engine

DRAFTING = {"method": "mtp", "num_speculative_tokens": 2}


def engine(**changes) -> Engine:
    return Engine(version="0.26.0", **changes)


def test_nothing_stands_in_unless_asked_for():
    args = {"max_num_seqs": 8, "speculative_config": DRAFTING}
    assert with_stand_ins(args, engine(), 0.8) == args
    assert stand_ins(args) == {}
    assert described({}) == ""


def test_both_become_vllms_own_options_and_are_named():
    wanted = engine(load_format="dummy", synthetic_acceptance=True)
    args = with_stand_ins({"speculative_config": DRAFTING}, wanted, 0.8)
    assert args["load_format"] == "dummy"
    assert args["speculative_config"] == {
        **DRAFTING,
        "rejection_sample_method": "synthetic",
        "synthetic_acceptance_rates": [0.8, 0.64],
    }
    assert described(stand_ins(args)) == (
        "weights random, near zero; acceptance synthetic (0.8, 0.64)"
    )


def test_options_that_the_user_wrote_are_named_as_well():
    assert "tokenizer" in stand_ins({"skip_tokenizer_init": True, "load_format": "dummy"})


def test_weights_of_the_checkpoint_are_named_unless_they_are_not_loaded():
    drawn = "normal, seed 0"
    assert stand_ins({}, drawn) == {"weights": "random, normal, seed 0"}
    assert stand_ins({"load_format": "dummy"}, drawn) == {"weights": "random, near zero"}


def test_without_drafting_there_is_nothing_to_accept():
    assert with_stand_ins({}, engine(synthetic_acceptance=True), 0.8) == {}


def test_a_version_without_it_is_refused():
    old = Engine(version="0.18.0", synthetic_acceptance=True)
    with pytest.raises(InputError, match=r"vLLM 0\.18\.0 cannot"):
        with_stand_ins({"speculative_config": DRAFTING}, old, 0.8)


def test_drafting_given_as_text_is_refused():
    with pytest.raises(InputError, match="is text"):
        with_stand_ins({"speculative_config": "{}"}, engine(synthetic_acceptance=True), 0.8)
