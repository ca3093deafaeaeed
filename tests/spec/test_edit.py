"""Only what is asked for changes in a fleet file, whatever its layout."""

from __future__ import annotations

import difflib

import pytest

from headrace.spec.document import read_document
from headrace.spec.edit import CannotEditError, with_values
from headrace.spec.recipes import recipe_text, recipes

IMAGE = "vllm/vllm-openai:v0.33.0@sha256:" + "a" * 64
COMMIT = "b" * 40
NESTED = f"{{revision: {COMMIT}}}"
VALUES = {("target", "image"): IMAGE, ("target", "storage", "revision"): COMMIT}


def changed(text: str, values: dict = VALUES) -> list[str]:
    after = with_values(text, values).splitlines()
    lines = list(difflib.unified_diff(text.splitlines(), after, lineterm="", n=0))[2:]
    return [line for line in lines if not line.startswith("@@")]


@pytest.mark.parametrize("name", [recipe.name for recipe in recipes()])
def test_recipes_only_gain_lines(name: str) -> None:
    lines = changed(recipe_text(name))
    assert {line.strip("+ ").partition(":")[0] for line in lines} <= {
        "image",
        "storage",
        "revision",
    }
    assert all(line.startswith("+") for line in lines)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (
            "target:   # where\n    kind: kubernetes # it runs\n    # the end\n",
            [f"+    image: {IMAGE}", "+    storage:", f"+      revision: {COMMIT}"],
        ),
        (
            "target: {kind: kubernetes,   lora: {}} #\n",
            [
                "-target: {kind: kubernetes,   lora: {}} #",
                f"+target: {{kind: kubernetes,   lora: {{}}, image: {IMAGE}, storage: {NESTED}}} #",
            ],
        ),
        (
            "target:\n  storage:\n    kind: rwx\n  kind: kubernetes\n",
            [f"+  image: {IMAGE}", f"+    revision: {COMMIT}"],
        ),
        (
            'target:\n  kind: kubernetes\n  image: "old"   # by hand\n  storage: {}\n',
            [
                '-  image: "old"   # by hand',
                "-  storage: {}",
                f'+  image: "{IMAGE}"   # by hand',
                f"+  storage: {{revision: {COMMIT}}}",
            ],
        ),
        (
            "target:\n  kind: kubernetes\n  image:\n  storage:\n",
            [
                "-  image:",
                "-  storage:",
                f"+  image: {IMAGE}",
                f"+  storage: {{revision: {COMMIT}}}",
            ],
        ),
        (
            "target:\n  kind: kubernetes",
            [f"+  image: {IMAGE}", "+  storage:", f"+    revision: {COMMIT}"],
        ),
        ("target:\n  {kind: kubernetes,\n   # last\n  }\n", None),
    ],
)
def test_layouts(target: str, expected: list[str] | None) -> None:
    text = "# a fleet\nname:   x\nmodel: a/b   # c\n" + target
    lines = changed(text)
    assert expected is None or lines == expected


def test_line_ends_and_a_byte_order_mark_stay() -> None:
    text = "\ufeffname: x\r\ntarget:\r\n  kind: kubernetes\r\n"
    after = with_values(text, {("target", "image"): IMAGE})
    assert after == text + f"  image: {IMAGE}\r\n"


def test_an_edit_is_its_own_fixed_point() -> None:
    once = with_values(recipe_text("qwen35-27b-b200x96-gke"), VALUES)
    assert with_values(once, VALUES) == once
    assert read_document(once).value["target"]["storage"]["revision"] == COMMIT


def test_a_commit_that_looks_like_a_number_is_quoted() -> None:
    at = ("target", "storage", "revision")
    assert with_values("target:\n  kind: kubernetes\n", {at: "1" * 40}).endswith('1"\n')


@pytest.mark.parametrize(
    "text",
    [
        "gateway: &a {policy: none}\ntarget: *a\n",
        "target:\n  image: >\n    folded\n",
        "target:\n  image: [a]\n",
    ],
)
def test_what_cannot_be_changed_in_place_is_refused(text: str) -> None:
    with pytest.raises(CannotEditError):
        with_values(text, {("target", "image"): IMAGE})
