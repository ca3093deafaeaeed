import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli.main import application
from headrace.errors import HeadraceError, InfeasibleError, InputError

pytestmark = pytest.mark.compute

FLEET = """
name: small
model: Qwen/Qwen3.5-27B-FP8
hardware: {gpu: b200, gpus_per_node: 1, usd_per_gpu_hour: 1.0}
slo: {tpot_p99_ms: 60}
engine: {args: {max_model_len: 2048, max_num_batched_tokens: 8192}}
"""
OTHER = """
name: other
model: Qwen/Qwen3.5-27B-FP8
hardware: {gpu: B200}
workload: {concurrency: 160}
engine: {version: 0.18.0, planned: false, args: {max_model_len: 4096}}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "other.yaml").write_text(OTHER)
    (tmp_path / "small.yaml").write_text(FLEET)
    return str(tmp_path / "small.yaml")


def document(*words: str) -> Any:
    result = CliRunner().invoke(application("plan"), ["plan", *words, "--json"])
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def people(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    application("plan")(["plan", *words], standalone_mode=False)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def refusal(kind: type[HeadraceError], *words: str) -> str:
    with pytest.raises(kind) as caught:
        application("plan")(["plan", *words], standalone_mode=False)
    return str(caught.value)


def test_a_ranking_of_two(file: str) -> None:
    rows = document(file, "--gpu", "H200", "--gpu", "B200", "--gpu", "h200")["ranking"]
    assert [row["gpu"] for row in rows] == ["B200", "H200"]
    assert rows[0]["usd_per_gpu_hour"] == 1.0
    assert rows[1]["usd_per_gpu_hour"] == 2.25
    assert rows[0]["usd_per_million_tokens"] < rows[1]["usd_per_million_tokens"]
    assert rows[0]["layout"]["replicas"] == 1
    assert rows[0]["low_total_tok_s"] < rows[0]["total_tok_s"] < rows[0]["high_total_tok_s"]


def test_all_gpus_are_ranked_and_no_cpu(capsys: pytest.CaptureFixture[str], file: str) -> None:
    text = people(capsys, file, "--gpu", "all")
    assert "predicted, small on 1 GPU of each type" in text
    assert "A100-40GB: no price in the catalog" in text
    assert "RTX PRO 6000" in text
    assert "CPU" not in text


def test_a_ranked_gpu_is_what_its_own_plan_says(file: str) -> None:
    row = document(file, "--gpu", "H200")["ranking"][0]
    plan = document(file, "--what-if", "hardware.gpu=H200")["changed"]
    assert row["total_tok_s"] == plan["chosen"]["prediction"]["total_tok_s"]


def test_an_unknown_gpu(file: str) -> None:
    message = refusal(InputError, file, "--gpu", "H20O")
    assert message.startswith("--gpu H20O: ")
    assert "nearest: H200" in message


def test_what_if(file: str) -> None:
    made = document(file, "--what-if", "workload.output_tokens=1024", "--what-if", "name=long")
    assert made["fields"] == {"workload.output_tokens": 1024, "name": "long"}
    assert made["base"]["fleet"]["workload"]["output_tokens"] == 512
    assert made["changed"]["fleet"]["workload"]["output_tokens"] == 1024
    assert made["changed"]["usd_per_gpu_hour"] == 1.0


def test_what_if_keeps_the_price_of_the_same_gpu_in_another_spelling(file: str) -> None:
    assert document(file, "--what-if", "hardware.gpu=B200")["changed"]["usd_per_gpu_hour"] == 1.0
    assert document(file, "--what-if", "hardware.gpu=H200")["changed"]["usd_per_gpu_hour"] == 2.25


def test_what_if_for_people(capsys: pytest.CaptureFixture[str], file: str) -> None:
    text = people(capsys, file, "--what-if", "engine.args.kv_cache_dtype=auto")
    assert "predicted" in text
    assert "before" in text
    assert "total tok/s" in text
    assert "kv_cache_dtype" in text


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        (InputError, "hardware.gpu=H20O", "nearest: H200"),
        (InputError, "engine.args.max_num_seq=3", "no option --max-num-seq"),
        (InfeasibleError, "slo.tpot_p99_ms=1", "no configuration keeps the goals"),
    ],
)
def test_what_if_it_cannot_be_planned(
    file: str, kind: type[HeadraceError], change: str, says: str
) -> None:
    message = refusal(kind, file, "--what-if", change)
    assert message.startswith(f"--what-if {change}: ")
    assert says in message


def test_against(capsys: pytest.CaptureFixture[str], file: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.yaml")
    made = document(file, "--against", other)
    last = made["steps"][-1]
    assert last["setting"] == "version"
    assert last["total_tok_s"] == pytest.approx(
        made["chosen"]["chosen"]["prediction"]["total_tok_s"]
    )
    text = people(capsys, file, "--against", other)
    assert "from other to small" in text
    assert "predicted total tok/s, one setting after the other" in text
    assert "requests in flight" in text


def test_against_another_load_is_refused(file: str, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(OTHER.replace("concurrency: 160", "input_tokens: 9"))
    message = refusal(InputError, file, "--against", str(other))
    assert "workload.input_tokens is 1024 here and 9 there" in message


def test_one_comparison_at_a_time(file: str, tmp_path: Path) -> None:
    assert "give one" in refusal(InputError, file, "--gpu", "all", "--what-if", "name=a")
    output = str(tmp_path / "plan.json")
    assert "--output" in refusal(InputError, file, "--gpu", "all", "--output", output)
    assert not Path(output).exists()
