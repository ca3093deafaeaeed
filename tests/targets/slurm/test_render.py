"""The sbatch file: its text as a whole, and what a shell and a user's options make of it."""

import subprocess
from pathlib import Path

import pytest

from headrace.cli.plan import plan_for
from headrace.planner.plan import Plan
from headrace.spec.load import parse_fleet
from headrace.targets.slurm.render import option, render, script

pytestmark = pytest.mark.compute

GOLDEN = Path(__file__).parents[2] / "golden" / "slurm"
FLEET = """
name: small
model: Qwen/Qwen3.5-27B-FP8
hardware: {{gpu: B200, nodes: 12, gpus_per_node: 8}}
engine: {{kind: {kind}, args: {{tensor_parallel_size: 1, max_num_seqs: 256}}}}
target: {{kind: slurm, python: /shared/venv/bin/python{options}}}
"""


def planned(kind: str = "vllm", options: str = "") -> Plan:
    return plan_for(parse_fleet(FLEET.format(kind=kind, options=options), "fleet.yaml"))


def directives(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if "#SBATCH" in line]


def test_the_whole_file():
    options = (
        ", partition: gpu, account: us, time_limit: 4:00:00, options: {qos: high},"
        " srun_options: {container-image: vllm/vllm-openai},"
        ' setup: "module load cuda\\nexport HF_HUB_OFFLINE=1"'
    )
    assert script(planned(options=options)) == (GOLDEN / "fleet.sbatch").read_text()


def test_the_plan_lies_beside_it():
    plan = planned()
    files = render(plan).files
    assert Plan.model_validate_json(files["plan.json"]) == plan
    assert set(files) == {"fleet.sbatch", "plan.json"}


def test_simulated_gpus_are_not_asked_of_slurm():
    lines = directives(script(planned("simulated")))
    assert not [line for line in lines if "gres" in line]
    assert "--nodes=12" in lines


def test_what_the_user_writes_wins():
    text = script(planned(options=", exclusive: false, options: {no_requeue: '', nodes: 13}"))
    lines = directives(text)
    assert "--nodes=13" in lines
    assert lines.count("--no-requeue") == 1
    assert "--exclusive" not in lines


@pytest.mark.parametrize("options", ["", ", setup: 'a && b'", ', srun_options: {x: "it\'s $(a)"}'])
def test_a_shell_can_read_it(options):
    text = script(planned(options=options))
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_values_are_words():
    assert option("container_image", "a b;c") == "'--container-image=a b;c'"
    assert option("--no-kill", "") == "--no-kill"
