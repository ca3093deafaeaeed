"""Request bodies: prompts of an exact length in tokens, different each time, cheap to make."""

from __future__ import annotations

import random
from array import array
from itertools import accumulate
from typing import Any

import orjson

from headrace.loadgen.job import Traffic

HEAD_TOKENS = 32
"""Freshly drawn for every request right after the shared prefix. Prefix caches chain their block
hashes, so a new head makes all that follows new to the cache, and the rest may come from a pool."""
POOL_TOKENS = 16384
"""Tokens in the pool beyond the longest prompt: so many places where a prompt's rest may begin."""
ID_DIGITS = 6
"""Tokens at the start of a block that spell the block's number."""
WORDS = ("time", "year", "people", "way", "day", "man", "thing", "life", "child", "world", "school")


class Ribbon:
    """Encoded tokens in a row, any stretch of which can be cut out by count."""

    def __init__(self, tokens: list[bytes]) -> None:
        self._bytes = b"".join(tokens)
        self._starts = array("Q", accumulate(map(len, tokens), initial=0))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def cut(self, start: int, count: int) -> bytes:
        """`count` tokens from `start` on, each with the separator behind it."""
        return self._bytes[self._starts[start] : self._starts[start + count]]


class Writer:
    """Writes encoded tokens: ids and commas, or words and blanks."""

    def __init__(self, traffic: Traffic, seed: str, longest: int) -> None:
        self.source = random.Random(seed)
        self._vocabulary = _vocabulary(traffic)
        tokens = self.source.choices(self._vocabulary, k=longest + POOL_TOKENS)
        self._pool = Ribbon(tokens)

    def tokens(self, source: random.Random, count: int) -> list[bytes]:
        """Freshly drawn tokens."""
        return source.choices(self._vocabulary, k=count)

    def fresh(self, count: int) -> bytes:
        """A text that no cache has seen."""
        head = min(HEAD_TOKENS, count)
        rest = count - head
        start = self.source.randrange(len(self._pool) - rest)
        return b"".join(self.tokens(self.source, head)) + self._pool.cut(start, rest)

    def block(self, number: int, count: int) -> bytes:
        """The text of a numbered block: the same for the same number, in every worker."""
        size = len(self._vocabulary)
        digits = [self._vocabulary[number // size**place % size] for place in range(ID_DIGITS)]
        return b"".join((digits * (count // ID_DIGITS + 1))[:count])


class Prefixes:
    """The beginnings that prompts share: one for each group, the same in every worker."""

    def __init__(self, writer: Writer, traffic: Traffic, seed: int) -> None:
        self._writer = writer
        self._seed = seed
        self._groups = traffic.prefix_groups
        self._rate = traffic.prefix_hit_rate
        self._longest = int(max(traffic.input_table) * self._rate)
        self._made: dict[int, Ribbon] = {}

    def shared(self, prompt_tokens: int) -> tuple[bytes, int]:
        """The shared part of a prompt of that length, and how many tokens it has."""
        count = int(prompt_tokens * self._rate)
        if not count:
            return b"", 0
        group = self._writer.source.randrange(self._groups) if self._groups > 1 else 0
        if group not in self._made:
            source = random.Random(f"{self._seed}/prefix/{group}")
            self._made[group] = Ribbon(self._writer.tokens(source, self._longest))
        return self._made[group].cut(0, count), count


def _vocabulary(traffic: Traffic) -> list[bytes]:
    if traffic.words or traffic.chat:
        return [f"{word} ".encode() for word in traffic.words or WORDS]
    return [b"%d," % token for token in range(*traffic.token_ids)]


class Frame:
    """What stands around a prompt in a request body."""

    def __init__(self, traffic: Traffic) -> None:
        self._chat = traffic.chat
        self._text = bool(traffic.words) or traffic.chat
        names = [traffic.model, *traffic.loras]
        self._opens = [orjson.dumps(_fields(traffic, name))[:-1] for name in names]

    def prompt(self, lora: int, pieces: bytes, output_tokens: int) -> bytes:
        """A body around encoded tokens."""
        if self._chat:
            form = b'%b,"messages":[{"role":"user","content":"%b"}],"max_tokens":%d}'
        elif self._text:
            form = b'%b,"prompt":"%b","max_tokens":%d}'
        else:
            form = b'%b,"prompt":[%b],"max_tokens":%d}'
        return form % (self._opens[lora], pieces[:-1], output_tokens)

    def content(self, lora: int, content: str | list[Any], output_tokens: int) -> bytes:
        """A body around a text, token ids, or the messages of a chat."""
        if self._chat and isinstance(content, str):
            content = [{"role": "user", "content": content}]
        name = b"messages" if self._chat else b"prompt"
        body = orjson.dumps(content)
        return b'%b,"%b":%b,"max_tokens":%d}' % (self._opens[lora], name, body, output_tokens)


def _fields(traffic: Traffic, model: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if traffic.ignore_eos:
        fields["ignore_eos"] = True
    if traffic.temperature is not None:
        fields["temperature"] = traffic.temperature
    return fields | traffic.body
