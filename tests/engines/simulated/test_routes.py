"""The routes beside generation."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.engines.simulated.serving import MODEL, Response, replica_model, serving

NAMES = [
    "num_requests_running",
    "num_requests_waiting",
    "num_requests_waiting_by_reason",
    "kv_cache_usage_perc",
    "num_preemptions_total",
    "prompt_tokens_total",
    "generation_tokens_total",
    "prompt_tokens_cached_total",
    "prefix_cache_queries_total",
    "prefix_cache_hits_total",
    "external_prefix_cache_queries_total",
    "external_prefix_cache_hits_total",
    "request_success_total",
    "admission_rejections_total",
    "time_to_first_token_seconds_bucket",
    "inter_token_latency_seconds_bucket",
    "request_time_per_output_token_seconds_bucket",
    "e2e_request_latency_seconds_bucket",
    "request_queue_time_seconds_bucket",
    "request_prefill_time_seconds_bucket",
    "request_decode_time_seconds_bucket",
    "request_inference_time_seconds_bucket",
    "iteration_tokens_total_bucket",
    "spec_decode_num_drafts_total",
    "spec_decode_num_draft_tokens_total",
    "spec_decode_num_accepted_tokens_total",
    "spec_decode_num_accepted_tokens_per_pos_total",
    "engine_sleep_state",
]


def get(path: str, method: str = "GET") -> Response:
    async def talk() -> Response:
        async with serving() as server:
            return await server.ask(method, path)

    return asyncio.run(talk())


@pytest.mark.parametrize("path", ["/health", "/ping", "/version", "/load", "/metrics"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_answer_says_simulated(path: str, method: str) -> None:
    response = get(path, method)
    assert response.status == 200
    assert response.headers["x-headrace-engine"] == "simulated"
    assert (response.body == b"") == (method == "HEAD" or path in ("/health", "/ping"))


def test_models_say_who_owns_them() -> None:
    (card,) = get("/v1/models?x=1").document["data"]
    assert card["id"] == MODEL
    assert card["owned_by"] == "headrace-simulated"
    assert card["max_model_len"] == 4096


def test_the_version_is_simulated() -> None:
    assert get("/version").document == {"version": "simulated"}


def test_tokenize_and_detokenize() -> None:
    async def talk() -> list[Response]:
        async with serving() as server:
            chat = {"messages": [{"role": "user", "content": "hello"}]}
            return [
                await server.ask("POST", "/tokenize", {"prompt": " aaa bca!"}),
                await server.ask("POST", "/tokenize", chat),
                await server.ask("POST", "/detokenize", {"tokens": [0, 1]}),
                await server.ask("POST", "/detokenize", {"tokens": []}),
                await server.ask("POST", "/tokenize", {}),
                await server.ask("POST", "/detokenize", {"tokens": ["x"]}),
            ]

    words, chat, text, nothing, *bad = asyncio.run(talk())
    assert words.document["tokens"][:2] == [0, 53]
    assert words.document["count"] == 3
    assert words.document["max_model_len"] == 4096
    assert chat.document["count"] == 7
    assert text.document == {"prompt": " aaa baa"}
    assert nothing.document == {"prompt": ""}
    assert [response.status for response in bad] == [400, 400]


def test_metrics_have_vllm_names_and_true_values() -> None:
    async def talk() -> Response:
        model = replica_model(mtp_depth=1, acceptance=1.0, prefix_hit_rate=0.5)
        async with serving(model) as server:
            body = {"prompt": [1] * 40, "max_tokens": 5, "stream": True}
            for _ in range(2):
                await server.ask("POST", "/v1/completions", body)
            return await server.ask("GET", "/metrics")

    page = asyncio.run(talk()).body.decode()
    samples = {
        (sample.name, sample.labels.get("le") or sample.labels.get("finished_reason")): sample
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    names = {name for name, _ in samples}
    assert {f"vllm:{name}" for name in NAMES} <= names
    values = {key: sample.value for key, sample in samples.items()}
    assert values["vllm:prompt_tokens_total", None] == 80
    assert values["vllm:prompt_tokens_cached_total", None] == 40
    assert values["vllm:generation_tokens_total", None] == 10
    assert values["vllm:request_success_total", "length"] == 2
    assert values["vllm:spec_decode_num_drafts_total", None] == 4
    assert values["vllm:spec_decode_num_accepted_tokens_total", None] == 4
    assert values["vllm:time_to_first_token_seconds_count", None] == 2
    assert values["vllm:inter_token_latency_seconds_count", None] == 4
    assert values["vllm:request_generation_tokens_sum", None] == 10
    assert values["vllm:e2e_request_latency_seconds_bucket", "+Inf"] == 2
    assert values["headrace_simulated_lag_seconds_count", None] == 6
    assert {"headrace_simulated_lag_seconds_max", "headrace_simulated_lag_seconds_given_up"} < names
    labels = samples["vllm:prompt_tokens_total", None].labels
    assert labels == {"model_name": MODEL, "engine": "0"}
