"""Whatever the text, a fleet or an InputError: never another exception."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import InputError
from headrace.spec.fleet import Fleet
from headrace.spec.load import parse_fleet
from headrace.spec.recipes import recipe_text

LINES = recipe_text("qwen35-27b-b200x96-published").splitlines()
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("0.30")
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
PARTS = st.sampled_from(list(Fleet.model_fields))


def judged(text: str) -> None:
    try:
        found: object = parse_fleet(text, "fleet.yaml")
    except InputError as error:
        found = error
    assert isinstance(found, Fleet) or str(found).startswith("fleet.yaml")


@settings(max_examples=20)
@given(st.dictionaries(PARTS | st.text(max_size=4), VALUES | st.dictionaries(PARTS, VALUES)))
def test_any_values(document):
    judged(yaml.safe_dump(document, allow_unicode=True))


@settings(max_examples=100)
@given(st.integers(0, len(LINES) - 1), st.text(max_size=12))
def test_any_line_in_a_recipe(number, line):
    judged("\n".join([*LINES[:number], line, *LINES[number + 1 :]]))


@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_recipe_without_one_line(number):
    judged("\n".join(LINES[:number] + LINES[number + 1 :]))
