"""Many streaming requests at once, on plain asyncio."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlsplit

REQUEST = (
    "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n{extra}\r\n{body}"
)
TIMEOUT_S = 60


@dataclass(frozen=True)
class Got:
    """What came back: status, the replica that answered, whether the stream came to its end."""

    status: int
    replica: str | None
    server: str | None
    whole: bool
    retry_after: str | None = None


@dataclass(frozen=True)
class Timed:
    """A request under load: when it began and ended, and what came of it (None: no answer)."""

    began_s: float
    ended_s: float
    got: Got | None

    @property
    def good(self) -> bool:
        return self.got is not None and self.got.status == 200 and self.got.whole


class Load:
    """`streams` clients that ask one request after the other, in a thread, for a with block."""

    def __init__(self, url: str, body: str = "{}", streams: int = 8, extra: str = "") -> None:
        self.done: list[Timed] = []
        self._ask = (url, extra, body)
        self._streams = streams
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def since(self, began_s: float) -> list[Timed]:
        """What began after that moment."""
        return [timed for timed in self.done if timed.began_s > began_s]

    async def _all(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._streams)))

    async def _client(self) -> None:
        while not self._stop.is_set():
            began_s = time.monotonic()
            try:
                async with asyncio.timeout(60):
                    got = await one(*self._ask)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                got = None
                await asyncio.sleep(0.01)
            self.done.append(Timed(began_s, time.monotonic(), got))


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
            retry_after=headers.get("retry-after"),
        )
    finally:
        writer.close()


def together(url: str, count: int, extra: str = "", body: str = "{}") -> list[Got]:
    """`count` requests at the same time."""

    async def all_of_them() -> list[Got]:
        return list(await asyncio.gather(*(one(url, extra, body) for _ in range(count))))

    return asyncio.run(all_of_them())


@contextmanager
def opened(url: str, body: str = "{}") -> Iterator[str | None]:
    """A request whose answer has begun, and stays open: the replica that gives it."""
    parts = urlsplit(url)
    with closing(HTTPConnection(parts.netloc, timeout=TIMEOUT_S)) as connection:
        connection.request("POST", "/v1/completions", body)
        with connection.getresponse() as answer:
            yield answer.getheader("x-headrace-replica")


def completions(url: str, model: str, count: int, tokens: int = 4, extra: str = "") -> list[Got]:
    """`count` streamed completions of a real or simulated engine at the same time."""
    asked = {"model": model, "prompt": [1, 2, 3], "max_tokens": tokens, "stream": True}
    return together(url, count, extra, json.dumps(asked))
