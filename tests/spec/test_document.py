import pytest

from headrace.spec.document import (
    MAX_DEPTH,
    BrokenYamlError,
    Mark,
    plain_value,
    read_document,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        # Text in YAML 1.2, something else in PyYAML's 1.1:
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("0x1F", "0x1F"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        # Numbers that no field can hold:
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("9" * 400, "9" * 400),
    ],
)
def test_plain_scalars_follow_the_core_schema(text, value):
    assert plain_value(text) == value
    assert type(plain_value(text)) is type(value)


def test_leading_zeros_are_decimal():
    assert plain_value("012") == 12


def test_places_of_keys_and_values_are_kept():
    document = read_document("a:\n  b: 1\n  c:   [x, 0.30]\n")

    assert document.value == {"a": {"b": 1, "c": ["x", 0.3]}}
    assert document.keys["a", "c"] == Mark(3, 3)
    assert document.values["a", "c"] == Mark(3, 8)
    assert document.values["a", "c", 1] == Mark(3, 12)
    assert document.typed["a", "c", 1] == "0.30"
    assert document.problems == []


def test_the_mark_of_an_absent_field_is_its_parents():
    document = read_document("a:\n  b: 1\n")

    assert document.mark(("a", "z")) == Mark(2, 3)
    assert document.mark(("a", "z"), key=True) == Mark(1, 1)
    assert document.mark(("z",)) == Mark(1, 1)


def test_quoted_scalars_are_text_and_not_listed_as_typed_plain():
    document = read_document("a: '12'\nb: |\n  true\n")

    assert document.value == {"a": "12", "b": "true\n"}
    assert document.typed == {}


def test_keys_are_text_whatever_they_look_like():
    assert read_document("on: 1\n2: 3\n").value == {"on": 1, "2": 3}


def test_aliases_are_followed():
    assert read_document("a: &x {k: 1}\nb: *x\n").value == {"a": {"k": 1}, "b": {"k": 1}}


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\na: 2\n", 2, "given twice, first on line 1"),
        ("a: 1\nb: !foo 2\n", 2, "take out !foo"),
        ("x: !!python/object:os.system y\n", 1, "no tags"),
        ("? [a]\n: 1\n", 1, "single word"),
    ],
)
def test_what_has_no_place_in_a_fleet_file_is_noted(text, line, part):
    (problem,) = read_document(text).problems
    assert problem.mark.line == line
    assert part in problem.text


@pytest.mark.parametrize(
    ("text", "mark", "part"),
    [
        ("a: [1\nb: 2", Mark(2, 2), "which starts on line 1"),
        ("a:\n\tb: 1", Mark(2, 1), "indent with spaces"),
        ("a: b: c", Mark(1, 5), "mapping values are not allowed"),
        ("a: *x", Mark(1, 4), "undefined alias"),
        ("a: 1\n---\nb: 2", Mark(2, 1), "another document"),
        ("a: 1\nb: x\x01y", Mark(2, 5), "'\\x01'"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), Mark(1, MAX_DEPTH + 1), "nested over"),
        ("&a [*a]", Mark(1, 1), "too many values"),
    ],
)
def test_broken_text_is_placed(text, mark, part):
    with pytest.raises(BrokenYamlError) as caught:
        read_document(text)
    assert part in caught.value.problem.text
    if "mapping values" not in part:
        assert caught.value.problem.mark == mark


def test_depth_that_would_overrun_the_c_stack_is_refused():
    with pytest.raises(BrokenYamlError, match="nested over"):
        read_document("[" * 300_000)


def test_aliases_that_multiply_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(BrokenYamlError, match="too many values"):
        read_document("\n".join(lines))
