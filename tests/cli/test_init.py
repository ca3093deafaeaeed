import json
from pathlib import Path

import pytest

from headrace.cli.init import SCHEMA_NAME, write_recipe
from headrace.errors import InputError
from headrace.spec.load import load_fleet
from headrace.spec.recipes import EXAMPLE, recipe_text, recipes
from tests.cli.test_main import headrace


def test_a_recipe_is_written_with_its_comments_and_its_schema(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    assert headrace(monkeypatch, "init", "qwen35-27b-h200x1", "-o", "mine.yaml") == 0

    assert Path("mine.yaml").read_text() == recipe_text("qwen35-27b-h200x1")
    assert load_fleet(Path("mine.yaml")).hardware.gpu == "H200"
    first = Path("mine.yaml").read_text().splitlines()[0]
    assert Path(first.partition("$schema=")[2]).is_file()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "next:  headrace plan mine.yaml" in captured.err


def test_the_example_is_written_when_no_recipe_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    assert headrace(monkeypatch, "init", "--json") == 0

    assert json.loads(capsys.readouterr().out) == {
        "recipe": EXAMPLE,
        "fleet": "fleet.yaml",
        "schema": SCHEMA_NAME,
    }
    assert Path("fleet.yaml").read_text() == recipe_text(EXAMPLE)


def test_nothing_is_overwritten_without_force(tmp_path):
    fleet, schema = tmp_path / "fleet.yaml", tmp_path / SCHEMA_NAME
    fleet.write_text("mine")
    schema.write_text("also mine")

    with pytest.raises(InputError, match="exists"):
        write_recipe(EXAMPLE, fleet, force=False)
    assert fleet.read_text() == "mine"
    write_recipe(EXAMPLE, tmp_path / "other.yaml", force=False)
    assert schema.read_text() == "also mine"

    write_recipe(EXAMPLE, fleet, force=True)
    assert fleet.read_text() == recipe_text(EXAMPLE)
    assert json.loads(schema.read_text())["title"] == "Headrace fleet file"


@pytest.mark.parametrize(
    ("recipe", "output", "says"),
    [
        ("qwen35-27b-h200", "fleet.yaml", "did you mean qwen35-27b-h200x1?"),
        (EXAMPLE, ".", "is a folder"),
        (EXAMPLE, "no/fleet.yaml", "No such file or directory"),
    ],
)
def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, recipe, output, says):
    with pytest.raises(InputError) as caught:
        write_recipe(recipe, tmp_path / output, force=False)
    assert says in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_list_names_every_recipe(monkeypatch, capsys):
    names = [recipe.name for recipe in recipes()]
    assert headrace(monkeypatch, "init", "--list") == 0
    printed = capsys.readouterr().err
    assert all(name in printed for name in names)

    assert headrace(monkeypatch, "init", "--list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)["recipes"]
    assert [recipe["name"] for recipe in listed] == names
