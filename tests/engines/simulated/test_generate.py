"""Completions and chats, streamed and whole, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.engines.simulated.serving import MODEL, Response, replica_model, serving

COMPLETION = {"model": MODEL, "prompt": [1, 2, 3], "max_tokens": 5}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def post(path: str, body: dict[str, Any], **scheduler: Any) -> Response:
    async def talk() -> Response:
        async with serving(replica_model(**scheduler)) as server:
            return await server.ask("POST", path, body)

    response = asyncio.run(talk())
    assert response.headers["x-headrace-engine"] == "simulated"
    return response


def counts(texts: list[str]) -> list[int]:
    """Tokens in each piece: a word of four characters each."""
    assert all(len(text) % 4 == 0 for text in texts)
    return [len(text) // 4 for text in texts]


def test_a_streamed_completion_has_a_chunk_per_token_then_usage_then_done() -> None:
    response = post("/v1/completions", COMPLETION | STREAM)
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    *tokens, usage = response.events
    assert [event["choices"][0]["finish_reason"] for event in tokens] == [None] * 4 + ["length"]
    assert counts(response.texts) == [1] * 5
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 3, "total_tokens": 8, "completion_tokens": 5}
    for event in response.events:
        assert event["object"] == "text_completion"
        assert event["model"] == MODEL
        assert event["id"] == tokens[0]["id"]
        assert event["id"].startswith("cmpl-")


def test_without_include_usage_there_is_no_usage() -> None:
    response = post("/v1/completions", COMPLETION | {"stream": True})
    assert all("usage" not in event for event in response.events)


def test_every_event_travels_in_a_chunk_of_its_own_until_the_last_ones() -> None:
    response = post("/v1/completions", COMPLETION | STREAM)
    assert [chunk.count(b"data: ") for chunk in response.chunks] == [1] * 7


def test_a_streamed_chat_begins_with_the_role() -> None:
    response = post("/v1/chat/completions", CHAT | STREAM)
    first, *_, usage = response.events
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["object"] == "chat.completion.chunk"
    assert counts(response.texts) == [0, 1, 1, 1, 1, 1]
    assert usage["usage"]["completion_tokens"] == 5
    assert first["id"].startswith("chatcmpl-")


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_a_chat_of_one_token_still_has_a_role(limit: str) -> None:
    body = {key: CHAT[key] for key in ("model", "messages")} | {limit: 1} | STREAM
    response = post("/v1/chat/completions", body)
    assert counts(response.texts) == [0, 1]


def test_whole_answers() -> None:
    completion = post("/v1/completions", COMPLETION).document
    assert completion["choices"][0]["finish_reason"] == "length"
    assert counts([completion["choices"][0]["text"]]) == [5]
    assert completion["usage"]["total_tokens"] == 8
    chat = post("/v1/chat/completions", CHAT).document
    assert chat["object"] == "chat.completion"
    assert counts([chat["choices"][0]["message"]["content"]]) == [5]


def test_a_streamed_and_a_whole_answer_have_the_same_text() -> None:
    body = COMPLETION | {"max_tokens": 700}
    streamed = "".join(post("/v1/completions", body | STREAM).texts)
    assert streamed == post("/v1/completions", body).document["choices"][0]["text"]


def test_the_stream_interval_keeps_the_first_token_apart() -> None:
    body = COMPLETION | {"max_tokens": 10} | STREAM
    assert counts(post("/v1/completions", body, stream_interval=4).texts) == [1, 4, 4, 1]
    chunks = counts(post("/v1/completions", body | {"max_tokens": 600}, stream_interval=500).texts)
    assert chunks == [1, 500, 99]


def test_accepted_drafts_come_in_the_chunk_of_their_step() -> None:
    body = COMPLETION | {"max_tokens": 8} | STREAM
    response = post("/v1/completions", body, mtp_depth=2, acceptance=1.0)
    assert counts(response.texts) == [1, 3, 3, 1]


def test_token_ids_and_running_usage_on_request() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = COMPLETION | {"stream": True, "stream_options": options, "return_token_ids": True}
    *tokens, last = post("/v1/completions", body).events
    assert [event["usage"]["completion_tokens"] for event in tokens] == [1, 2, 3, 4, 5]
    assert [event["choices"][0]["token_ids"] for event in tokens] == [[0], [1], [2], [3], [4]]
    assert tokens[0]["choices"][0]["prompt_token_ids"] == [1, 2, 3]
    assert "prompt_token_ids" not in tokens[1]["choices"][0]
    assert last["usage"]["completion_tokens"] == 5
    whole = post("/v1/completions", COMPLETION | {"return_token_ids": True}).document
    assert whole["choices"][0]["token_ids"] == [0, 1, 2, 3, 4]
    chat = post("/v1/chat/completions", CHAT | {"stream": True, "return_token_ids": True}).events
    assert len(chat[0]["choices"][0]["prompt_token_ids"]) == 7
    assert "prompt_token_ids" not in chat[1]["choices"][0]


def test_generated_text_tokenizes_to_what_usage_says() -> None:
    async def talk() -> tuple[Response, Response]:
        async with serving() as server:
            answer = await server.ask("POST", "/v1/completions", COMPLETION)
            text = answer.document["choices"][0]["text"]
            return answer, await server.ask("POST", "/tokenize", {"prompt": text})

    answer, tokens = asyncio.run(talk())
    assert tokens.document["count"] == answer.document["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    ("prompt", "tokens"), [("12345678", 2), ("123456789", 3), (["abcd"], 1), ([[7, 8]], 2)]
)
def test_prompts_in_all_their_forms(prompt: object, tokens: int) -> None:
    document = post("/v1/completions", COMPLETION | {"prompt": prompt}).document
    assert document["usage"]["prompt_tokens"] == tokens


def test_defaults_are_sixteen_tokens_for_completions_and_the_context_for_chats() -> None:
    completion = post("/v1/completions", {"prompt": "abcd"}).document
    assert completion["usage"]["completion_tokens"] == 16
    near_the_end = {"prompt": [1] * 4090}
    assert post("/v1/completions", near_the_end).document["usage"]["total_tokens"] == 4096
    messages = [{"role": "user", "content": [{"type": "text", "text": "x" * 16_000}]}]
    chat = post("/v1/chat/completions", {"messages": messages}).document
    assert chat["usage"]["total_tokens"] == 4096


def test_requests_share_steps_and_each_gets_its_own_stream() -> None:
    async def talk() -> list[Response]:
        async with serving(replica_model(max_num_seqs=8)) as server:
            bodies = [COMPLETION | STREAM | {"max_tokens": n} for n in range(1, 31)]
            asks = [server.ask("POST", "/v1/completions", body) for body in bodies]
            return await asyncio.gather(*asks)

    responses = asyncio.run(talk())
    assert [sum(counts(r.texts)) for r in responses] == list(range(1, 31))
    assert len({r.events[0]["id"] for r in responses}) == 30
