"""One small GET, for health checks and the gateway's admin port."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools

READ_BYTES = 65_536


@dataclass
class Answer:
    """A response as it arrives; `done` when it is whole."""

    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    done: bool = False

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self.body += data

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.done = True


async def get(url: str, timeout_s: float) -> Answer | None:
    """The answer to a GET; None when there is none: refused, cut, malformed, too late."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _get(url)
    except (OSError, TimeoutError, httptools.HttpParserError):
        return None


async def _get(url: str) -> Answer | None:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        return await _read(reader)
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Answer | None:
    answer = Answer()
    parser = httptools.HttpResponseParser(answer)
    while not answer.done:
        data = await reader.read(READ_BYTES)
        if not data:
            return None
        parser.feed_data(data)
    answer.status = parser.get_status_code()
    return answer
