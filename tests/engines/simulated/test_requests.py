"""What cannot be served gets one clear answer, in vLLM's shape."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace.scheduler.spec import CacheSpec
from tests.engines.simulated.serving import MODEL, Response, replica_model, serving

COMPLETIONS, CHATS = "/v1/completions", "/v1/chat/completions"


def ask(method: str, path: str, body: Any = None, key: str | None = None, **how: Any) -> Response:
    async def talk() -> Response:
        async with serving(replica_model(**how.pop("replica", {})), key) as server:
            return await server.ask(method, path, body, **how)

    return asyncio.run(talk())


@pytest.mark.parametrize(
    ("body", "status", "param", "says"),
    [
        (b"{broken", 400, None, "not valid JSON"),
        (b"[1]", 400, None, "JSON object"),
        ({"model": MODEL}, 400, "prompt", "required"),
        ({"model": "other", "prompt": "x"}, 404, "model", "`other` does not exist"),
        ({"prompt": ""}, 400, "prompt", "empty"),
        ({"prompt": []}, 400, "prompt", "empty"),
        ({"prompt": 7}, 400, "prompt", "text or a list"),
        ({"prompt": [1, "x"]}, 400, "prompt", "token ids"),
        ({"prompt": [1, True]}, 400, "prompt", "token ids"),
        ({"prompt": [1, 32_000]}, 400, "prompt", "outside 0..31999"),
        ({"prompt": [-1]}, 400, "prompt", "outside"),
        ({"prompt": ["a", "b"]}, 400, "prompt", "one prompt"),
        ({"prompt": "x", "max_tokens": 0}, 400, "max_tokens", "at least 1"),
        ({"prompt": "x", "max_tokens": 1.5}, 400, "max_tokens", "integer"),
        ({"prompt": "x", "max_tokens": 4096}, 400, "max_tokens", "maximum context length is 4096"),
        ({"prompt": [1] * 4096}, 400, "prompt", "maximum context length"),
        ({"prompt": "x", "n": 2}, 400, "n", "one choice"),
        ({"prompt": "x", "echo": True}, 400, "echo", "does not offer"),
        ({"prompt": "x", "stream": "yes"}, 400, "stream", "true or false"),
        ({"prompt": "x", "stream_options": {}}, 400, "stream_options", "stream=True"),
        ({"prompt": "x", "stream": True, "stream_options": 1}, 400, "stream_options", "object"),
    ],
)
def test_bad_completions(body: Any, status: int, param: str | None, says: str) -> None:
    response = ask("POST", COMPLETIONS, body)
    assert response.status == status
    error = response.document["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["param"], error["code"]) == (param, status)
    assert says in error["message"]
    assert response.headers["x-headrace-engine"] == "simulated"


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "hi",
        ["hi"],
        [{"content": "x"}],
        [{"role": "user", "content": [{"type": "image"}]}],
    ],
)
def test_bad_chats(messages: object) -> None:
    response = ask("POST", CHATS, {"messages": messages})
    assert response.status == 400
    assert response.document["error"]["param"] == "messages"


def test_a_request_that_the_cache_could_never_hold_is_refused() -> None:
    small = {"cache": CacheSpec(pages=4, page_tokens=16)}
    response = ask("POST", COMPLETIONS, {"prompt": [1] * 60, "max_tokens": 10}, replica=small)
    assert response.status == 400
    assert "4 pages" in response.document["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nowhere", 404, "Not Found"),
        ("GET", COMPLETIONS, 405, "Method Not Allowed"),
        ("DELETE", "/health", 405, "Method Not Allowed"),
    ],
)
def test_unknown_paths_and_methods(method: str, path: str, status: int, kind: str) -> None:
    response = ask(method, path)
    assert response.status == status
    assert response.document["error"]["type"] == kind


def test_the_key_guards_v1_only() -> None:
    body = {"prompt": "x"}
    assert ask("POST", COMPLETIONS, body, key="secret").status == 401
    wrong = {"authorization": "Bearer secrets"}
    denied = ask("POST", COMPLETIONS, body, key="secret", headers=wrong)
    assert (denied.status, denied.document) == (401, {"error": "Unauthorized"})
    right = {"authorization": "Bearer secret"}
    assert ask("POST", COMPLETIONS, body, key="secret", headers=right).status == 200
    assert ask("GET", "/health", key="secret").status == 200
    assert ask("GET", "/v1/models", key="secret").status == 401


def test_a_draining_replica_refuses_new_generations_but_is_healthy() -> None:
    async def talk() -> tuple[Response, Response]:
        async with serving() as server:
            client = await server.connect()
            server.service.draining = True
            return await client.ask("POST", COMPLETIONS, {"prompt": "x"}), await client.ask(
                "GET", "/health"
            )

    refused, health = asyncio.run(talk())
    assert refused.status == 503
    assert "shutting down" in refused.document["error"]["message"]
    assert health.status == 200
