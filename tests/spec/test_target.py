"""Each kind of target has fields of its own; a mistake in one is told as in any other part."""

import json

import pytest

from headrace.errors import InputError
from headrace.spec.load import parse_fleet
from headrace.spec.target import LocalTarget, RayTarget, SlurmTarget

MINIMAL = "model: Qwen/Qwen3.5-27B-FP8\nhardware: {gpu: B200}\n"


def target(text: str):
    return parse_fleet(f"{MINIMAL}target: {text}\n", "fleet.yaml").target


def test_each_kind_is_its_own_class():
    assert target("{}") == LocalTarget()
    assert target("{kind: ray, address: auto}") == RayTarget(kind="ray", address="auto")
    slurm = target("{kind: slurm, partition: gpu, time_limit: 4:00:00, options: {qos: 7}}")
    assert isinstance(slurm, SlurmTarget)
    assert (slurm.time_limit, slurm.options, slurm.drain_s) == ("4:00:00", {"qos": "7"}, 120)


def test_a_fleet_is_the_same_after_a_round_trip():
    fleet = parse_fleet(f"{MINIMAL}target: {{kind: slurm, account: us}}\n", "f")
    text = json.dumps(fleet.model_dump(mode="json"))
    assert parse_fleet(text, "f") == fleet


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("{kind: slurms}", "3:16: target.kind", "one of local, ray, slurm, kubernetes; got slurms"),
        ("{kind: slurms}", "3:16: target.kind", "did you mean slurm?"),
        ("{kind: [x]}", "3:16: target.kind", "one of local, ray"),
        ("[slurm]", "3:9: target", "a mapping with kind; got a list"),
        ("slurm", "3:9: target", "a mapping with kind; got slurm"),
        ("{kind: slurm, partitions: x}", "3:23: target.partitions", "did you mean `partition`?"),
        ("{partition: x}", "3:10: target.partition", "Allowed here: kind"),
        ("{kind: ray, partition: x}", "3:21: target.partition", "kind, address, cpus_per_node"),
        ("{kind: slurm, drain_s: 0}", "3:32: target.drain_s", "whole number above 0; got 0"),
        ("{kind: slurm, time_limit: soon}", "3:35: target.time_limit", "text such as 04:00:00"),
        ("{kind: slurm, setup: export HF_TOKEN=x}", "3:30: target.setup", "looks like a secret"),
        ("{kind: slurm, exclusive: no}", "3:34: target.exclusive", "true or false; got no"),
    ],
)
def test_a_problem_names_its_place(text, place, says):
    with pytest.raises(InputError) as caught:
        target(text)
    assert str(caught.value).startswith(f"fleet.yaml:{place}: "), caught.value
    assert says in str(caught.value)


def test_a_secret_that_is_read_from_elsewhere_is_none():
    assert target('{kind: slurm, setup: "export HF_TOKEN=$(cat ~/t) A=1"}').kind == "slurm"
