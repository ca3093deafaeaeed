"""The published one-node ladder and scaling table, predicted (Qwen3.5-27B-FP8, vLLM 0.18.0)."""

from typing import Any

import pytest

from headrace.cli.plan import plan_for
from headrace.planner.plan import Prediction
from headrace.spec.fleet import Fleet

LADDER: list[tuple[str, int, int, dict[str, Any], float]] = [
    ("default, one GPU", 1, 183, {}, 9_500),
    ("TP=8", 8, 1464, {"tensor_parallel_size": 8}, 22_300),
    ("DP=8", 8, 1464, {}, 74_848),
    (
        "DP=8, 4K context, FP8 KV, MTP-1",
        8,
        1464,
        {
            "max_model_len": 4096,
            "kv_cache_dtype": "fp8",
            "speculative_config": {"method": "mtp", "num_speculative_tokens": 1},
        },
        95_317,
    ),
]
SCALING = [(1, 95_317), (2, 190_000), (4, 376_074), (8, 740_192), (12, 1_103_941)]


def predict(nodes: int, gpus: int, concurrency: int, args: dict[str, Any]) -> Prediction:
    fleet = Fleet.model_validate(
        {
            "model": "Qwen/Qwen3.5-27B-FP8",
            "hardware": {"gpu": "B200", "nodes": nodes, "gpus_per_node": gpus},
            "workload": {"concurrency": concurrency},
            "engine": {"version": "0.18.0", "planned": False, "args": args},
        }
    )
    return plan_for(fleet).chosen.prediction


@pytest.mark.parametrize(("_name", "gpus", "concurrency", "args", "total_tok_s"), LADDER)
def test_one_node_ladder(
    _name: str, gpus: int, concurrency: int, args: dict[str, Any], total_tok_s: float
) -> None:
    predicted = predict(1, gpus, concurrency, args)
    assert predicted.total_tok_s == pytest.approx(total_tok_s, rel=0.05)


@pytest.mark.parametrize(("nodes", "total_tok_s"), SCALING)
def test_scaling_table(nodes: int, total_tok_s: float) -> None:
    predicted = predict(nodes, 8, 1464 * nodes, LADDER[3][3])
    assert predicted.total_tok_s == pytest.approx(total_tok_s, rel=0.02)
    assert predicted.tpot_ms == pytest.approx(46, rel=0.1)
