"""Many streaming requests at once, on plain asyncio."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

REQUEST = (
    "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n{extra}\r\n{body}"
)


@dataclass(frozen=True)
class Got:
    """What came back: status, the replica that answered, whether the stream came to its end."""

    status: int
    replica: str | None
    server: str | None
    whole: bool


async def one(url: str, extra: str = "", body: str = "{}") -> Got:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(REQUEST.format(extra=extra, body=body, length=len(body)).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
        got = b""
        while not got.endswith(b"0\r\n\r\n") and "content-length" not in headers:
            data = await reader.read(65536)
            if not data:
                break
            got += data
        return Got(
            status=int(head.split()[1]),
            replica=headers.get("x-headrace-replica"),
            server=headers.get("server"),
            whole=got.endswith(b"0\r\n\r\n"),
        )
    finally:
        writer.close()


def together(url: str, count: int, extra: str = "", body: str = "{}") -> list[Got]:
    """`count` requests at the same time."""

    async def all_of_them() -> list[Got]:
        return list(await asyncio.gather(*(one(url, extra, body) for _ in range(count))))

    return asyncio.run(all_of_them())


def completions(url: str, model: str, count: int, tokens: int = 4, extra: str = "") -> list[Got]:
    """`count` streamed completions of a real or simulated engine at the same time."""
    asked = {"model": model, "prompt": [1, 2, 3], "max_tokens": tokens, "stream": True}
    return together(url, count, extra, json.dumps(asked))
