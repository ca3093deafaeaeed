from __future__ import annotations

import pytest

from headrace.dashboard.history import History, Look
from headrace.dashboard.sample import ReplicaSample, merged, quantile, read_sample

PAGE = """# HELP vllm:num_requests_running x
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
vllm:generation_tokens_total{engine="0",model_name="m"} 100.0
vllm:request_success_total{engine="0",finished_reason="error",model_name="m"} 5.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 7.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 1.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 2.0
python_info{version="3"} 1.0
"""


def test_a_page_becomes_one_replica():
    found = read_sample(PAGE)
    assert (found.running, found.waiting, found.kv_usage, found.failed) == (7.0, 2.0, 0.5, 5.0)
    assert found.counters["vllm:generation_tokens_total"] == 100.0
    assert found.histograms["vllm:time_to_first_token_seconds"] == {0.1: 1.0, float("inf"): 2.0}


def test_quantiles_are_of_what_came_in_between():
    before = {1.0: 10.0, 2.0: 10.0, float("inf"): 10.0}
    after = {1.0: 10.0, 2.0: 14.0, float("inf"): 14.0}
    assert quantile(0.5, before, after) == pytest.approx(1.5)
    assert quantile(0.5, after, after) is None
    assert quantile(0.99, {}, {1.0: 0.0, float("inf"): 3.0}) == 1.0
    assert merged([before, after])[2.0] == 24.0


def test_rates_survive_a_replica_that_began_anew():
    def sample(tokens: float, running: float = 1.0) -> ReplicaSample:
        return ReplicaSample(running=running, counters={"vllm:generation_tokens_total": tokens})

    history = History()
    history.add(Look(10.0, {"r0": sample(1000.0), "r1": sample(50.0)}))
    history.add(Look(12.0, {"r0": sample(1200.0, 3.0), "r1": sample(20.0)}))
    assert history.document()["series"]["output_tok_s"] == [110.0]
    assert history.document()["series"]["imbalance"] == [1.5]
    assert history.document(epoch_s=1e9)["at_s"] == [1e9 + 12.0]
    assert history.loads["r0"]["output_tok_s"] == 100.0
    history.add(Look(14.0, {"r1": sample(30.0)}, refused=4.0))
    assert history.document()["series"]["errors_s"] == [0.0, 2.0]
