"""A replica served in this process, and a client that shows every byte's meaning."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from headrace.engines.simulated.generation import Served
from headrace.engines.simulated.protocol import Connection
from headrace.engines.simulated.replica import Replica
from headrace.engines.simulated.service import ReplicaService
from headrace.engines.simulated.text import Tokenizer
from headrace.perf.replica import ReplicaModel
from headrace.perf.step import StepModel
from headrace.scheduler.spec import CacheSpec, SchedulerSpec
from headrace.timers import Timers

MODEL = "org/model"
CONTEXT = 4096
SMALL_BUFFER_BYTES = 16_384


def replica_model(step_s: float = 0.0, **scheduler: Any) -> ReplicaModel:
    """Steps of one length."""
    settings = {"max_num_seqs": 64, "max_num_batched_tokens": 8192, "max_model_len": CONTEXT}
    cache = CacheSpec(pages=10_000, page_tokens=16)
    limits = SchedulerSpec(**{"cache": cache} | settings | scheduler)
    return ReplicaModel(StepModel.of_length(step_s), limits)


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes
    chunks: list[bytes] = field(default_factory=list)

    @property
    def document(self) -> Any:
        return orjson.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The JSON of every event; the closing [DONE] is checked and left out."""
        lines = [line for line in self.body.split(b"\n\n") if line]
        assert all(line.startswith(b"data: ") for line in lines)
        assert lines[-1] == b"data: [DONE]"
        return [orjson.loads(line.removeprefix(b"data: ")) for line in lines[:-1]]

    @property
    def texts(self) -> list[str]:
        """Text of every event that holds a choice."""
        choices = [event["choices"][0] for event in self.events if event["choices"]]
        return [c["text"] if "text" in c else c["delta"]["content"] for c in choices]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> None:
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        lines = [f"{method} {path} HTTP/1.1", "host: test", f"content-length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + data)

    async def receive(self, has_body: bool = True) -> Response:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in rest)
        response = Response(int(first.split()[1]), headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            while chunk := await self._chunk():
                response.chunks.append(chunk)
            response.body = b"".join(response.chunks)
        elif has_body:
            response.body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return response

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Response:
        self.send(method, path, body, headers)
        return await self.receive(has_body=method != "HEAD")

    async def is_closed(self) -> bool:
        return await self.reader.read(1) == b""

    async def _chunk(self) -> bytes:
        size = int((await self.reader.readline()).strip(), 16)
        data = await self.reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]


@dataclass
class Serving:
    service: ReplicaService
    port: int
    clients: list[Client] = field(default_factory=list)

    async def connect(self, slow: bool = False) -> Client:
        plug = socket.create_connection(("127.0.0.1", self.port))
        if slow:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        plug.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=plug, limit=2**12 if slow else 2**16)
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Response:
        return await (await self.connect()).ask(method, path, body, headers)


@asynccontextmanager
async def serving(
    model: ReplicaModel | None = None, api_key: str | None = None
) -> AsyncIterator[Serving]:
    """A replica on a free port; small send buffers, so that a slow reader is soon noticed."""
    loop = asyncio.get_running_loop()
    served = Served(MODEL, CONTEXT, Tokenizer(32_000), created=1)
    timers = Timers(loop)
    replica = Replica(model or replica_model(), CONTEXT, 0, timers)
    service = ReplicaService(replica, served, api_key)
    plug = socket.create_server(("127.0.0.1", 0))
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
    server = await loop.create_server(lambda: Connection(service), sock=plug)
    open_to = Serving(service, plug.getsockname()[1])
    try:
        yield open_to
    finally:
        for client in open_to.clients:
            client.writer.close()
        for connection in list(service.connections):
            connection.abort()
        server.close()
        while service.connections:
            await asyncio.sleep(0)
        timers.close()
