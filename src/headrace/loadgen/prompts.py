"""Request bodies: prompts of an exact length in tokens, different each time, cheap to make."""

from __future__ import annotations

import random

import orjson

from headrace.loadgen.job import Job

HEAD_TOKENS = 32
"""Freshly drawn for every request right after the shared prefix. Prefix caches chain their block
hashes, so a new head makes all that follows new to the cache, and the rest may come from a pool."""
POOL = 64
POOL_BYTES = 4 << 20
WORDS = ("time", "year", "people", "way", "day", "man", "thing", "life", "child", "world", "school")


class Prompts:
    """Makes the bodies of one worker. `body(n)` asks for exactly n output tokens.

    Completions send token ids, so the input length is exact. Chat sends as many common words as
    tokens were asked for; its true length is what the server's usage block says.
    """

    def __init__(self, job: Job) -> None:
        self._random = random.Random(f"{job.seed}/{job.index}")
        self._chat = job.chat
        self._vocabulary = _vocabulary(job)
        shared = int(job.input_tokens * job.prefix_hit_rate)
        fresh = job.input_tokens - shared
        self._head_tokens = min(HEAD_TOKENS, fresh)
        self._prefix = self._pieces(random.Random(f"{job.seed}/prefix"), shared)
        self._tails = self._pool(fresh - self._head_tokens)
        self._open, self._close = _frame(job)

    def body(self, output_tokens: int) -> bytes:
        """One request body."""
        head = self._pieces(self._random, self._head_tokens)
        prompt = self._prefix + head + self._random.choice(self._tails)
        return b"%b%b%b%d}" % (self._open, prompt[:-1], self._close, output_tokens)

    def _pieces(self, source: random.Random, count: int) -> bytes:
        """`count` tokens, each with the separator behind it."""
        return b"".join(source.choices(self._vocabulary, k=count))

    def _pool(self, tokens: int) -> list[bytes]:
        size = max(4, min(POOL, POOL_BYTES // (4 * tokens + 1)))
        return [self._pieces(self._random, tokens) for _ in range(size)]


def _vocabulary(job: Job) -> list[bytes]:
    if job.chat:
        return [f"{word} ".encode() for word in WORDS]
    return [b"%d," % token for token in range(*job.token_ids)]


def _frame(job: Job) -> tuple[bytes, bytes]:
    """What stands before and after the prompt; the body ends with the output length."""
    fields: dict[str, object] = {
        "model": job.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    if job.temperature is not None:
        fields["temperature"] = job.temperature
    start = orjson.dumps(fields)[:-1]
    if job.chat:
        return start + b',"messages":[{"role":"user","content":"', b'"}],"max_tokens":'
    return start + b',"prompt":[', b'],"max_tokens":'


def request_heads(job: Job, api_key: str | None) -> list[bytes]:
    """The HTTP request head for each endpoint, up to the value of Content-Length."""
    path = "/v1/chat/completions" if job.chat else "/v1/completions"
    lines = [
        "Content-Type: application/json",
        "Accept: text/event-stream",
        "Accept-Encoding: identity",
        "User-Agent: headrace",
    ]
    if api_key:
        lines.append(f"Authorization: Bearer {api_key}")
    rest = "\r\n".join([*lines, "Content-Length: "])
    return [
        f"POST {endpoint.prefix}{path} HTTP/1.1\r\nHost: {endpoint.authority}\r\n{rest}".encode()
        for endpoint in job.endpoints
    ]
