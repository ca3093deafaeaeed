import json
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli.main import application
from headrace.errors import InputError
from headrace.models.load import packaged


def document(*words: str) -> Any:
    """What a verb with --json prints on stdout: exactly one JSON document."""
    result = CliRunner().invoke(application(words[0]), words, catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def people(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a verb tells people, on stderr, with nothing on stdout."""
    application(words[0])(list(words), standalone_mode=False)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_models_lists_all() -> None:
    listed = document("models", "--json")["models"]
    assert [model["name"] for model in listed] == packaged()


def test_model_in_full() -> None:
    facts = document("models", "Qwen/Qwen3.5-27B-FP8", "--json")
    assert facts["kv_bytes_per_token"] == {"bf16": 65536, "fp8": 32768}
    assert facts["linears"][0] == {
        "name": "gdn.in",
        "k": 5120,
        "n": 16384,
        "count": 48,
        "stored": 48,
        "quantized": True,
    }


def test_models_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    text = people(capsys, "models")
    assert all(name in text for name in packaged())


def test_model_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    text = people(capsys, "models", "Qwen/Qwen3.5-35B-A3B-FP8")
    assert "8 of 256 in 40 layers" in text
    assert "64 MB in float32" in text


def test_unknown_model_is_an_input_error() -> None:
    with pytest.raises(InputError):
        application("models")(["models", "nobody/nothing"], standalone_mode=False)


def test_hardware_states_its_sources() -> None:
    gpu = document("hardware", "--json")["hardware"]["B200"]
    assert gpu["memory_bytes"]["source"]
    assert gpu["usd_per_hour"]["value"] == 3.75


def test_hardware_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    text = people(capsys, "hardware")
    assert "RTX PRO 6000" in text
    assert "4500" in text
