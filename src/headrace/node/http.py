"""One small request, for health checks, the gateway's admin socket and reports."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httptools

READ_BYTES = 65_536
NO_HEADERS: Mapping[str, str] = {}


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
    return await request("GET", url, timeout_s)


async def request(
    method: str,
    url: str,
    timeout_s: float,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] = NO_HEADERS,
    socket_file: Path | None = None,
    trust: ssl.SSLContext | None = None,
) -> Answer | None:
    """The answer to one request on a connection of its own; None when there is none.

    `socket_file`: connect to that Unix socket instead of the URL's host. `trust` decides about an
    https server's certificate.
    """
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await _connect(url, socket_file, trust)
            try:
                writer.write(_message(method, url, body, headers))
                return await _read(reader)
            finally:
                writer.transport.abort()  # closing TLS would wait for the other side
    except (OSError, TimeoutError, ssl.SSLError, httptools.HttpParserError):
        return None


async def _connect(
    url: str, socket_file: Path | None, trust: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if socket_file is not None:
        return await _connect_file(socket_file)
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    context = (trust or ssl.create_default_context()) if secure else None
    return await asyncio.open_connection(parts.hostname, port, ssl=context)


async def _connect_file(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """By way of an open folder: the path of a socket may have 107 characters, a run's has more."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _message(method: str, url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    wanted = {"Host": parts.netloc, "Connection": "close", **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in wanted.items())]
    if method != "GET":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


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
