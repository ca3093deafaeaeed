import pytest
import yaml

from headrace.errors import InputError
from headrace.spec.load import load_fleet, parse_fleet
from headrace.spec.recipes import EXAMPLE, recipe_path, recipe_text, recipes

NAMES = [recipe.name for recipe in recipes()]


@pytest.fixture(autouse=True)
def models_that_scripts_make(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".cache/headrace/tiny-qwen35").mkdir(parents=True)


def test_the_recipes_that_others_rely_on_are_there():
    assert {EXAMPLE, "qwen35-27b-b200x96", "qwen35-27b-b200x96-published"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_a_commented_fleet_file(name):
    first, title = recipe_text(name).splitlines()[:2]

    assert first == "# yaml-language-server: $schema=fleet.schema.json"
    assert title.startswith("# ")
    assert load_fleet(recipe_path(name)).name == name


def test_titles_are_the_first_comment():
    titles = {recipe.name: recipe.title for recipe in recipes()}
    assert titles["qwen35-27b-b200x96"].startswith("Qwen3.5-27B FP8 on twelve nodes")


def test_the_headline_fleet_is_planned_by_headrace():
    fleet = load_fleet(recipe_path("qwen35-27b-b200x96"))

    assert (fleet.hardware.gpus, fleet.hardware.usd_per_gpu_hour) == (96, 3.75)
    assert (fleet.engine.version, fleet.engine.planned, fleet.engine.args) == ("0.33.0", True, {})
    assert (fleet.slo.ttft_p99_ms, fleet.slo.tpot_p99_ms) == (10000, 60)


def test_its_twin_keeps_the_published_flags():
    fleet = load_fleet(recipe_path("qwen35-27b-b200x96-published"))

    assert (fleet.engine.version, fleet.engine.planned) == ("0.18.0", False)
    assert fleet.engine.args == {
        "tensor_parallel_size": 1,
        "max_model_len": 4096,
        "kv_cache_dtype": "fp8",
        "speculative_config": {"method": "mtp", "num_speculative_tokens": 1},
    }
    assert fleet.workload.concurrency == 16000


def test_the_example_needs_no_gpu():
    assert load_fleet(recipe_path(EXAMPLE)).engine.kind == "simulated"


def test_an_unknown_recipe_suggests_the_nearest():
    with pytest.raises(InputError, match="did you mean qwen35-27b-h200x1") as caught:
        recipe_text("qwen35-27b-h200x2")
    assert EXAMPLE in str(caught.value.hint)
    with pytest.raises(InputError, match=r"no recipe is named zzz$"):
        recipe_path("zzz")
    with pytest.raises(InputError, match="no recipe"):
        recipe_path("../recipes/qwen35-27b-h200x1")


@pytest.mark.parametrize("name", NAMES)
def test_what_a_run_records_reads_back_the_same(name):
    fleet = load_fleet(recipe_path(name))
    recorded = yaml.safe_dump(fleet.model_dump(mode="json", exclude_none=True), sort_keys=False)
    assert parse_fleet(recorded, "fleet.yaml") == fleet
