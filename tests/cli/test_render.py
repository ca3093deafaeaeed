"""`headrace render`: files only, and one message for what cannot be."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli.main import application
from headrace.errors import InputError

FLEET = """
name: small
model: Qwen/Qwen3.5-0.8B
hardware: {gpu: B200, nodes: 3, gpus_per_node: 2}
workload: {input_tokens: 64, output_tokens: 32, concurrency: 96}
engine: {args: {max_num_seqs: 64}}
"""


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return path


def render(*words: object):
    return CliRunner().invoke(
        application("render"), ["render", *map(str, words)], catch_exceptions=False
    )


def test_any_fleet_is_written_for_any_system(fleet_file, tmp_path):
    done = render("slurm", fleet_file, "-o", tmp_path / "new" / "out", "--json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert sorted(Path(name).name for name in document["files"]) == ["fleet.sbatch", "plan.json"]
    assert all(Path(name).stat().st_size > 0 for name in document["files"])
    assert str(tmp_path / "new" / "out") in document["next"]


def test_a_folder_is_not_overwritten_unless_forced(fleet_file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "keep.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files already"):
        render("slurm", fleet_file, "-o", out)
    assert [path.name for path in out.iterdir()] == ["keep.txt"]
    assert render("slurm", fleet_file, "-o", out, "--force").exit_code == 0
    assert (out / "keep.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("target", "says"),
    [("slurms", "slurms is no kind of target"), ("ray", "ray is started, not written")],
)
def test_what_cannot_be_rendered(fleet_file, tmp_path, target, says):
    with pytest.raises(InputError, match=says) as caught:
        render(target, fleet_file, "-o", tmp_path / "out")
    assert "slurm" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()
