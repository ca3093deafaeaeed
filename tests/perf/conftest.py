import pytest

from headrace.hardware.gpu import Gpu
from headrace.hardware.load import load_gpu
from headrace.models.facts import ModelFacts
from headrace.models.load import load_model


@pytest.fixture(scope="session")
def qwen27b() -> ModelFacts:
    """Qwen3.5-27B as the block-FP8 checkpoint."""
    return load_model("Qwen/Qwen3.5-27B-FP8")


@pytest.fixture(scope="session")
def h200() -> Gpu:
    return load_gpu("H200")


@pytest.fixture(scope="session")
def b200() -> Gpu:
    return load_gpu("B200")
