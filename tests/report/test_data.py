import json
import shutil

import pytest

from headrace.errors import InputError
from headrace.report.data import load_run


def copy(runs, name, tmp_path):
    return shutil.copytree(runs / name, tmp_path / name)


def test_a_whole_run(runs):
    run = load_run(runs / "simulated")
    assert run.id == "simulated"
    assert None not in (run.plan, run.summary, run.records, run.timeline, run.deployment)


@pytest.mark.parametrize(
    ("name", "simulated"), [("simulated", True), ("real", False), ("bench", False)]
)
def test_simulated_is_what_its_files_say(runs, name, simulated):
    assert load_run(runs / name).simulated is simulated


@pytest.mark.parametrize("says_so", ["summary.json", "plan.json", "deployment.json"])
def test_one_file_that_says_simulated_is_enough(runs, tmp_path, says_so):
    folder = copy(runs, "real", tmp_path)
    shutil.copy(runs / "simulated" / says_so, folder / says_so)
    assert load_run(folder).simulated


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder") as caught:
        load_run(tmp_path / "nowhere")
    assert "runs/<id>" in (caught.value.hint or "")


def test_a_folder_that_holds_no_run(tmp_path):
    with pytest.raises(InputError, match=r"neither plan\.json nor summary\.json"):
        load_run(tmp_path)


def test_a_broken_file_is_named_with_its_field(runs, tmp_path):
    folder = copy(runs, "real", tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    summary["throughput"]["total_tok_s"] = "quick"
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match=r"summary\.json: throughput\.total_tok_s: .*number"):
        load_run(folder)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_a_file_that_is_no_json(runs, tmp_path, content):
    folder = copy(runs, "real", tmp_path)
    (folder / "plan.json").write_bytes(content)
    with pytest.raises(InputError, match=r"plan\.json") as caught:
        load_run(folder)
    assert caught.value.hint is not None
