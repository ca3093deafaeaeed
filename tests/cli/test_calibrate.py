"""`headrace calibrate` as its users type it."""

import json
from pathlib import Path

import pytest

from headrace.cli.main import main
from headrace.perf.load import read_calibrations

POINTS = Path(__file__).parents[1] / "data" / "points.csv"
HEADER = "id,model,gpu,engine,engine_version,weights_dtype,isl,osl,tp,concurrency,tpot_ms,ttft_ms\n"
ROWS = (
    "a,openai/gpt-oss-120b,H200,vllm,0.30.0,fp4,1024,1024,1,4,7.0,90\n"
    "b,openai/gpt-oss-120b,H200,vllm,0.30.0,fp4,1024,1024,1,32,19.0,200\n"
)


def headrace(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["headrace", *words])
    try:
        main()
    except SystemExit as caught:
        return int(caught.code or 0)
    return 0


@pytest.fixture
def points(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(HEADER + ROWS)
    return path


def test_it_writes_a_file_that_plans_read(monkeypatch, capsys, points, tmp_path):
    own = tmp_path / "own.toml"
    assert headrace(monkeypatch, "calibrate", str(points), "-o", str(own), "--json") == 0
    (entry,) = read_calibrations(own)
    assert entry.name == "vllm-0.30-moe-H200-mxfp4"
    assert entry.rows == 2
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert list(document["fitted"][0]["constants"]) == ["kernel_time"]
    assert "error" in printed.err
    monkeypatch.setenv("HEADRACE_CALIBRATIONS", str(own))
    assert headrace(monkeypatch, "validate", str(points)) == 0


def test_nothing_is_replaced_without_force(monkeypatch, capsys, points, tmp_path):
    own = tmp_path / "own.toml"
    words = ("calibrate", str(points), "-o", str(own))
    assert headrace(monkeypatch, *words) == 0
    before = own.read_text()
    assert headrace(monkeypatch, *words) == 2
    assert "--force" in capsys.readouterr().err
    assert own.read_text() == before
    assert headrace(monkeypatch, *words, "--force") == 0
    assert headrace(monkeypatch, *words, "--dry-run") == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEADER + ROWS.splitlines()[0] + "\n", ["1 row(s) cannot carry", "rows a"]),
        (HEADER + "x,m,H200,vllm,,fp8,-1,8,1,1,5,5\n", ["row x", "isl"]),
        (HEADER + "x,m,H200,vllm,,fp8,8,8,1,1,1e9,5\n", ["row x", "tpot_ms"]),
        ("id,model\na,b\n", ["no column"]),
        (HEADER + "x,m,H200,trt,,fp8,8,8,1,1,5,5\n", ["no row can be predicted", "x: engine trt"]),
    ],
)
def test_bad_input_leaves_no_file(monkeypatch, capsys, tmp_path, text, words):
    path, own = tmp_path / "bad.csv", tmp_path / "own.toml"
    path.write_text(text)
    assert headrace(monkeypatch, "calibrate", str(path), "-o", str(own)) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert not own.exists()


def test_unknown_constants_and_folders_that_are_no_runs(monkeypatch, capsys, points, tmp_path):
    assert headrace(monkeypatch, "calibrate", str(points), "--constants", "kappa") == 2
    assert "kernel_time" in capsys.readouterr().err
    assert headrace(monkeypatch, "calibrate", str(tmp_path)) == 2
    assert "finished `headrace run`" in capsys.readouterr().err
