import json
import shutil

import pytest

from headrace.cli.main import main
from headrace.errors import InputError
from headrace.report.write import write_report


def headrace(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["headrace", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code or 0


def test_a_page_is_written_whole(runs, tmp_path):
    out = write_report([runs / "real"], tmp_path / "deep" / "page.html")
    assert out == (tmp_path / "deep" / "page.html").resolve()
    assert out.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]


def test_nothing_is_overwritten_unasked(runs, tmp_path):
    out = tmp_path / "page.html"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        write_report([runs / "real"], out)
    assert out.read_text() == "mine"
    write_report([runs / "real"], out, force=True)
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_no_run_and_no_file(runs, tmp_path):
    with pytest.raises(InputError, match="no run"):
        write_report([], tmp_path / "page.html")
    with pytest.raises(InputError, match="is a folder"):
        write_report([runs / "real"], tmp_path, force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_report([runs / "real"], tmp_path / "file" / "page.html")


def test_the_verb_writes_into_the_runs_folder(runs, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(runs / "real", tmp_path / "run")
    assert headrace(monkeypatch, "report", folder, "--json") == 0
    page = folder / "report.html"
    assert json.loads(capsys.readouterr().out) == {"report": str(page), "runs": [str(folder)]}
    assert page.is_file()
    assert headrace(monkeypatch, "report", folder) == 2
    assert headrace(monkeypatch, "report", folder, "--force") == 0


def test_several_runs_are_written_here(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert headrace(monkeypatch, "report", runs / "real", runs / "simulated") == 0
    assert (tmp_path / "report.html").is_file()


def test_a_missing_run_ends_in_one_message(tmp_path, monkeypatch, capsys):
    assert headrace(monkeypatch, "report", tmp_path / "nowhere") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "nowhere is not a folder" in said.err
    assert "Traceback" not in said.err
