"""`headrace check`: nothing found in what Headrace renders, every seeded mistake found."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import InputError
from headrace.targets.kubernetes.check.run import RULES, check
from headrace.targets.kubernetes.render import render
from tests.targets.kubernetes.fleets import CASES
from tests.targets.kubernetes.mistakes import (
    MISTAKES,
    Mistake,
    broken,
    by_rules,
    by_schema,
    table,
)

pytestmark = pytest.mark.compute

DOCS = Path(__file__).resolve().parents[3] / "docs" / "kubernetes-check.md"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_found_in_what_is_rendered(case: str, tmp_path: Path) -> None:
    report = check(write(tmp_path, render(CASES[case]).files))
    assert [str(finding) for finding in report.findings] == []
    assert report.unknown == []
    assert report.objects > 15


@pytest.mark.parametrize("seeded", MISTAKES, ids=lambda seeded: seeded.text)
def test_a_seeded_mistake_is_found(seeded: Mistake) -> None:
    if seeded.rule == "schema":
        assert by_schema(seeded)
    else:
        assert seeded.rule in by_rules(broken(seeded))


def test_every_rule_has_a_mistake_that_it_finds() -> None:
    assert {seeded.rule for seeded in MISTAKES} == {"schema", *RULES}
    assert len(MISTAKES) >= 25


def test_schemas_alone_find_fewer_than_half() -> None:
    found = [seeded for seeded in MISTAKES if by_schema(seeded)]
    assert 5 <= len(found) < len(MISTAKES) / 2


def test_the_docs_show_what_schemas_alone_find() -> None:
    text = DOCS.read_text()
    assert "\n".join(table()) in text, "run: python -m tests.targets.kubernetes.mistakes"
    for rule in RULES:
        assert f"`{rule}`" in text


def test_every_rule_says_why_and_what_to_do() -> None:
    for rule in RULES.values():
        assert rule.why.endswith(".")
        assert rule.fix
        assert not rule.fix.endswith(".")


def test_a_broken_file_is_a_finding_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: {name: [}\n")
    (finding,) = check(tmp_path).findings
    assert (finding.rule, finding.file, finding.line) == ("yaml", "a.yaml", 3)


def test_a_key_that_is_there_twice_is_found(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: b\n  a: c\n"
    (tmp_path / "a.yaml").write_text(text)
    (finding,) = check(tmp_path).findings
    assert (finding.rule, finding.line) == ("yaml", 6)


def test_lists_are_taken_apart(tmp_path: Path) -> None:
    item = "{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}}"
    text = f"apiVersion: v1\nkind: List\nitems: [{item % 'a'}, {item % 'B_'}]\n"
    (tmp_path / "a.yaml").write_text(text)
    report = check(tmp_path)
    assert report.objects == 2
    assert [finding.rule for finding in report.findings] == ["name-invalid"]


def test_kinds_without_a_schema_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nspec: {}\n"
    )
    assert check(tmp_path).unknown == ["example.com/v1 Thing"]


def test_crds_of_ones_own_are_read(tmp_path: Path) -> None:
    schema = "{type: object, properties: {spec: {type: object, properties: {n: {type: integer}}}}}"
    (tmp_path / "crds.yaml").write_text(
        "kind: CustomResourceDefinition\nspec:\n  group: example.com\n  names: {kind: Thing}\n"
        f"  versions: [{{name: v1, schema: {{openAPIV3Schema: {schema}}}}}]\n"
    )
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "a.yaml").write_text(
        "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nspec: {n: x, m: 1}\n"
    )
    report = check(folder, crds=tmp_path / "crds.yaml")
    assert report.unknown == []
    assert sorted(finding.message for finding in report.findings) == [
        "spec.m: unknown field",
        "spec.n: 'x' is not of type 'integer'",
    ]


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_a_folder_without_manifests_is_bad_input(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        check(tmp_path / name)


def test_an_unknown_rule_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such rule"):
        check(tmp_path, ignore=["nonsense"])


@pytest.mark.parametrize("version", ["1.9", "latest", "2"])
def test_a_version_without_schemas_is_bad_input(version: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    with pytest.raises(InputError, match="no schemas of that version"):
        check(tmp_path, kubernetes=version)


def test_a_kind_that_the_version_does_not_have(tmp_path: Path) -> None:
    text = "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata: {name: a}\n"
    (tmp_path / "a.yaml").write_text(text)
    (finding,) = check(tmp_path).findings
    assert "has no PodSecurityPolicy" in finding.message
