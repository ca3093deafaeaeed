from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.errors import InputError
from headrace.gateway.keys import discovery, read_keys, write_valid
from headrace.gateway.process import check_gateway
from headrace.node.job import GatewaySpec

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEY = "k" * 16


def keys_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys.txt"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_line_is_a_name_a_key_and_perhaps_an_end(tmp_path: Path):
    found = read_keys(keys_file(tmp_path, f"# keys\na {KEY}1\nb {KEY}2 2026-05-31 # late\n\n"))
    assert [(key.name, key.is_valid(NOW)) for key in found] == [("a", True), ("b", False)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no key"),
        ("a short", "keys.txt:1: the key of a is shorter than 16"),
        (f"a {KEY} soon", "soon: expected a date"),
        (f"a {KEY} 2026-01-01 x", "expected NAME KEY"),
        (f"a {KEY}\nb {KEY}", "stands there twice"),
    ],
)
def test_what_is_wrong_is_said_without_the_key(tmp_path: Path, text: str, says: str):
    with pytest.raises(InputError, match=says) as caught:
        read_keys(keys_file(tmp_path, text))
    assert KEY not in str(caught.value)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="others may read"):
        read_keys(keys_file(tmp_path, f"a {KEY}", 0o644))


def test_without_a_valid_key_nobody_gets_in():
    (config,) = discovery([], 1)["resources"]
    (credential,) = config["typed_config"]["credentials"]
    assert credential["client"] == "nobody"
    assert len(credential["key"]) == 64


def test_envoys_file_is_for_this_user_alone(tmp_path: Path):
    path = tmp_path / "valid.json"
    write_valid(path, read_keys(keys_file(tmp_path, f"a {KEY}")), 2)
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["version_info"] == "2"


def test_metrics_for_everybody_are_refused():
    spec = GatewaySpec(policy="affinity", metrics_host="0.0.0.0")
    with pytest.raises(InputError, match="would be open to everybody"):
        check_gateway(spec)
