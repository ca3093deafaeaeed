import json
from pathlib import Path

from headrace.spec.fields import expected, node_at
from headrace.spec.fleet import Fleet
from headrace.spec.schema import SCHEMA_FILE, fleet_schema, schema_for, schema_text


def test_the_published_schema_is_current():
    assert SCHEMA_FILE.read_text() == schema_text(), "run `make docs`"


def test_every_field_is_described():
    nodes = [fleet_schema(), *fleet_schema()["$defs"].values()]
    lacking = [
        f"{node['title']}.{name}"
        for node in nodes
        for name, field in node["properties"].items()
        if field.keys().isdisjoint(("description", "$ref", "const"))
    ]
    assert lacking == []


def test_the_schema_closes_every_part():
    parts = [fleet_schema(), *fleet_schema()["$defs"].values()]
    assert all(part["additionalProperties"] is False for part in parts)
    assert fleet_schema()["required"] == ["model", "hardware"]


def test_fields_are_found_by_path_and_put_into_words():
    schema = schema_for({"target": {"kind": "slurm"}})
    words = {
        ("hardware", "gpu"): "text such as B200",
        ("hardware", "nodes"): "a whole number above 0",
        ("hardware", "usd_per_gpu_hour"): "a number above 0",
        ("workload", "concurrency"): "`auto`, or a whole number above 0",
        ("workload", "acceptance"): "a mapping with mtp",
        ("workload", "input_tokens", "low"): "a whole number above 0",
        ("workload", "conversation", "think_time_s"): "a number from 0",
        ("engine", "planned"): "true or false",
        ("engine", "env"): "a mapping of names to values",
        ("engine", "args", "anything"): "any value",
        ("target", "drain_s"): "a whole number above 0",
    }
    assert {at: expected(node_at(schema, at) or {}) for at in words} == words
    assert node_at(schema, ("hardware", "none")) is None
    assert node_at(schema, ("hardware", "gpu", "none")) is None


def test_recipes_lie_beside_the_schema_that_their_first_line_names():
    recipes = Path(__file__).parents[2] / "recipes"
    assert json.loads((recipes / "fleet.schema.json").read_text())["title"] == "Headrace fleet file"
    assert Fleet.model_fields.keys() == fleet_schema()["properties"].keys()
