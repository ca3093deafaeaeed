"""scripts/make_tiny_model.py, which several tests may call at once on a machine that has none."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.vllm_environment import SCRIPTS, vllm_executable

pytestmark = [pytest.mark.integration, pytest.mark.vllm]
__all__ = ["vllm_executable"]


@pytest.mark.usefixtures("vllm_executable")
def test_calls_at_once_leave_one_whole_model(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    command = [sys.executable, str(SCRIPTS / "make_tiny_model.py"), str(folder)]
    calls = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ended = [(call.communicate()[1], call.returncode) for call in calls]
    assert [code for _, code in ended] == [0, 0, 0], ended
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in folder.iterdir()
    }
