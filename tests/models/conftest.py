from typing import Any

import pytest

from headrace.models.facts import ModelFacts
from headrace.models.load import load_model


@pytest.fixture(scope="session")
def qwen27b() -> ModelFacts:
    return load_model("Qwen/Qwen3.5-27B-FP8")


@pytest.fixture
def small() -> dict[str, Any]:
    """A complete config of a small dense model."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 100,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
