"""Reading measured points: every fault is named by its row."""

from pathlib import Path

import pytest

from headrace.errors import InputError
from headrace.validation.points import load_points

HEADER = "id,model,gpu,engine,weights_dtype,isl,osl,tp,concurrency,tpot_ms\n"
GOOD = "a,openai/gpt-oss-120b,H200,vllm,fp4,1024,1024,1,8,9.1\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "points.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_row(tmp_path: Path) -> None:
    (point,) = load_points(write(tmp_path, HEADER + GOOD))
    assert (point.isl, point.concurrency, point.tpot_ms) == (1024, 8, 9.1)


def test_words_for_lengths_and_blanks_are_no_faults(tmp_path: Path) -> None:
    (point,) = load_points(write(tmp_path, HEADER + "a,m,H200,vllm,fp4,ShareGPT,,1,,\n"))
    assert point.isl is None
    assert point.concurrency is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("bad,m,H200,vllm,fp4,-5,8,1,8,9\n", ["points.csv:3", "row bad", "isl"]),
        ("bad,m,H200,vllm,fp4,8,8,1,8,-9\n", ["row bad", "tpot_ms"]),
        ("bad,m,H200,vllm,fp4,8,8,1,eight,9\n", ["row bad", "concurrency"]),
        ("bad,m,H200,vllm,fp4,8,8,1,8,1e99\n", ["row bad", "tpot_ms"]),
        ("bad,m,H200,vllm,fp4,8,8,0,8,9\n", ["row bad", "tp"]),
    ],
)
def test_impossible_rows_are_named(tmp_path: Path, row: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_points(write(tmp_path, HEADER + GOOD + row))
    for word in words:
        assert word in str(caught.value)


def test_missing_columns_missing_file_and_no_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column gpu, engine"):
        load_points(write(tmp_path, "id,model,weights_dtype,isl,osl\n"))
    with pytest.raises(InputError, match="no rows"):
        load_points(write(tmp_path, HEADER))
    with pytest.raises(InputError, match="No such file"):
        load_points(tmp_path / "none.csv")
