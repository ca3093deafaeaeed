"""HTTP/1.1 as clients and gateways use it, and as they misuse it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from headrace.engines.simulated.service import ReplicaService
from tests.engines.simulated.serving import Response, replica_model, serving

COMPLETIONS = "/v1/completions"
STREAM = {"prompt": "abcd", "max_tokens": 20, "stream": True}
LONG = STREAM | {"max_tokens": 1000}
FOREVER = STREAM | {"max_tokens": 4000}


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def running(service: ReplicaService) -> int:
    return service.replica.scheduler.running


def test_a_connection_serves_one_request_after_another() -> None:
    async def talk() -> list[Response]:
        async with serving() as server:
            client = await server.connect()
            return [
                await client.ask("POST", COMPLETIONS, STREAM),
                await client.ask("GET", "/nowhere"),
                await client.ask("HEAD", "/v1/models"),
                await client.ask("POST", COMPLETIONS, STREAM),
            ]

    responses = asyncio.run(talk())
    assert [response.status for response in responses] == [200, 404, 200, 200]
    assert len(responses[-1].texts) == 20


def test_pipelined_requests_are_answered_in_order() -> None:
    async def talk() -> list[Response]:
        async with serving() as server:
            client = await server.connect()
            for count in (3, 1, 2):
                client.send("POST", COMPLETIONS, STREAM | {"max_tokens": count})
                client.send("GET", "/version")
            return [await client.receive() for _ in range(6)]

    responses = asyncio.run(talk())
    assert [len(response.texts) for response in responses[::2]] == [3, 1, 2]
    assert all(response.document == {"version": "simulated"} for response in responses[1::2])


def test_a_long_pipeline_is_answered_whole() -> None:
    async def talk() -> int:
        async with serving() as server:
            client = await server.connect()
            for _ in range(500):
                client.send("GET", "/version")
            return sum([(await client.receive()).status == 200 for _ in range(500)])

    assert asyncio.run(talk()) == 500


def test_a_client_that_leaves_aborts_its_request() -> None:
    async def talk() -> dict[str, int]:
        async with serving(replica_model(step_s=0.001)) as server:
            client = await server.connect()
            client.send("POST", COMPLETIONS, FOREVER)
            await client.reader.readuntil(b"data: ")
            assert running(server.service) == 1
            client.writer.close()
            await until(lambda: running(server.service) == 0)
            assert server.service.replica.scheduler.free_pages == 10_000
            return server.service.replica.metrics.finished

    assert asyncio.run(talk()) == {"stop": 0, "length": 0, "abort": 1, "error": 0}


def test_a_slow_reader_gets_everything_and_delays_nobody() -> None:
    async def talk() -> tuple[Response, Response, int]:
        async with serving() as server:
            slow = await server.connect(slow=True)
            slow.send("POST", COMPLETIONS, LONG)
            await until(lambda: any(c.is_blocked for c in server.service.connections))
            other = await server.ask("POST", COMPLETIONS, LONG)
            await until(lambda: server.service.replica.scheduler.is_idle)
            (behind,) = [c for c in server.service.connections if c.is_blocked]
            buffered = behind._transport.get_write_buffer_size()
            return await slow.receive(), other, buffered

    late, other, buffered = asyncio.run(talk())
    assert buffered < 100_000
    assert "".join(late.texts) == "".join(other.texts)
    assert len(late.texts) < len(other.texts) == 1000


def test_a_reader_that_never_reads_holds_nothing_once_it_leaves() -> None:
    async def talk() -> int:
        async with serving() as server:
            slow = await server.connect(slow=True)
            slow.send("POST", COMPLETIONS, FOREVER)
            await until(lambda: any(c.is_blocked for c in server.service.connections))
            slow.writer.transport.abort()
            await until(lambda: not server.service.connections)
            return running(server.service)

    assert asyncio.run(talk()) == 0


def test_expect_continue_is_answered_before_the_body() -> None:
    async def talk() -> tuple[bytes, Response]:
        async with serving() as server:
            client = await server.connect()
            body = b'{"prompt": "x", "max_tokens": 1}'
            head = f"POST {COMPLETIONS} HTTP/1.1\r\nexpect: 100-continue\r\n"
            client.writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode())
            interim = await client.reader.readuntil(b"\r\n\r\n")
            client.writer.write(body)
            return interim, await client.receive()

    interim, response = asyncio.run(talk())
    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert response.status == 200


def test_a_body_may_come_in_pieces_and_chunked() -> None:
    async def talk() -> Response:
        async with serving() as server:
            client = await server.connect()
            head = f"POST {COMPLETIONS} HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n"
            for piece in (head, '9\r\n{"prompt"\r\n', '6\r\n: "x"}\r\n', "0\r\n\r\n"):
                client.writer.write(piece.encode())
                await asyncio.sleep(0.002)
            return await client.receive()

    assert asyncio.run(talk()).document["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", 413),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000, 431),
        (b"GET /" + b"y" * 100_000, 431),
        (b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 501),
    ],
)
def test_what_is_no_sane_request_is_refused_and_the_connection_closed(
    sent: bytes, status: int
) -> None:
    async def talk() -> tuple[Response, bool]:
        async with serving() as server:
            client = await server.connect()
            client.writer.write(sent)
            return await client.receive(), await client.is_closed()

    response, closed = asyncio.run(talk())
    assert response.status == status
    assert response.headers["connection"] == "close"
    assert closed


def test_a_chunked_body_that_never_ends_is_refused() -> None:
    async def talk() -> Response:
        async with serving() as server:
            client = await server.connect()
            client.writer.write(
                b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
            for _ in range(33):
                client.writer.write(piece)
            return await client.receive()

    assert asyncio.run(talk()).status == 413


def test_http_1_0_gets_whole_answers_and_no_streams() -> None:
    async def talk(body: bytes) -> tuple[Response, bool]:
        async with serving() as server:
            client = await server.connect()
            head = f"POST {COMPLETIONS} HTTP/1.0\r\ncontent-length: {len(body)}\r\n\r\n"
            client.writer.write(head.encode() + body)
            return await client.receive(), await client.is_closed()

    whole, closed = asyncio.run(talk(b'{"prompt": "x"}'))
    assert (whole.status, closed) == (200, True)
    assert asyncio.run(talk(b'{"prompt": "x", "stream": true}'))[0].status == 505


def test_connection_close_is_heeded_after_a_stream() -> None:
    async def talk() -> tuple[Response, bool]:
        async with serving() as server:
            client = await server.connect()
            response = await client.ask("POST", COMPLETIONS, STREAM, {"connection": "close"})
            return response, await client.is_closed()

    response, closed = asyncio.run(talk())
    assert (len(response.texts), closed) == (20, True)


def test_closing_when_done_lets_the_current_answer_end() -> None:
    async def talk() -> tuple[Response, bool, bool]:
        async with serving(replica_model(step_s=0.001)) as server:
            idle, busy = await server.connect(), await server.connect()
            await idle.ask("GET", "/health")
            busy.send("POST", COMPLETIONS, STREAM)
            await until(lambda: running(server.service) == 1)
            for connection in list(server.service.connections):
                connection.close_when_done()
            return await busy.receive(), await busy.is_closed(), await idle.is_closed()

    response, *closed = asyncio.run(talk())
    assert len(response.texts) == 20
    assert closed == [True, True]
