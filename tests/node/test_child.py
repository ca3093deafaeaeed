from __future__ import annotations

from headrace.node.child import without_secrets


def test_secret_values_are_not_shown():
    argv = ["vllm", "--api-key", "k1", "--hf_token=k2", "--port", "8000"]
    assert without_secrets(argv) == ["vllm", "--api-key", "***", "--hf_token=***", "--port", "8000"]


def test_token_counts_are_no_secrets():
    argv = ["--max-num-batched-tokens", "8192", "--token=9"]
    assert without_secrets(argv) == argv
