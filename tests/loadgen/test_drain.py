"""What the drain reads, and when it says that it came."""

import asyncio
import contextlib
import random
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from headrace.loadgen import drain as draining
from headrace.loadgen import stamps
from headrace.loadgen.client import Stream
from headrace.loadgen.drain import Drain
from headrace.loadgen.endpoint import Endpoint
from headrace.loadgen.exchange import Request
from headrace.loadgen.failure import End
from headrace.loadgen.lending import make_quick
from headrace.loadgen.schedule import Phase
from headrace.loadgen.share import make_jobs
from headrace.loadgen.source import Ask
from headrace.loadgen.spec import make_spec
from tests.loadgen import readers
from tests.loadgen.test_client import STREAM, answered
from tests.loadgen.test_fuzz import TEXT, TOKENS, Told, answer, good, response

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("each_reader")]
ANSWER = good(TEXT)


def request() -> Request:
    return Request(Phase.MEASURED, Ask(None, 0, 3, TOKENS), 0, 0.0, None)  # type: ignore[arg-type]


class Pair:
    """A stream that the drain reads, and the server's end of its connection."""

    def __init__(self) -> None:
        self.told = Told(chat=False)
        self.drain = Drain(self.told, readers.reader())
        self.stream = Stream(self.told)

    async def connected(self, path: str = "") -> socket.socket:
        listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        with listener:
            listener.bind(path or ("127.0.0.1", 0))
            listener.listen()
            await self.drain.connect(listener.family, listener.getsockname(), self.stream)
            server = listener.accept()[0]
        server.setblocking(False)
        return server

    async def stamping(self) -> None:
        """Wait until the kernel stamps packets; it begins a moment after it is asked."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            one, other = socket.create_connection(listener.getsockname()), listener.accept()[0]
        with one, other:
            assert stamps.ask(one)
            async with asyncio.timeout(20):
                while True:
                    other.send(b"?")
                    if one.recvmsg(1, stamps.ROOM)[1]:
                        return
                    await asyncio.sleep(0.01)

    async def beats(self) -> None:
        """What a worker's heartbeat does."""
        while True:
            self.drain.beat()
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def pair(path: str = "") -> AsyncIterator[tuple[Pair, socket.socket]]:
    made = Pair()
    server = await made.connected(path)
    beating = asyncio.create_task(made.beats())
    made.stream.send(request(), b"?")
    try:
        yield made, server
    finally:
        beating.cancel()
        made.stream.close()
        await asyncio.sleep(0)
        made.drain.close()
        server.close()


async def until(told: Told) -> None:
    async with asyncio.timeout(20):
        while not told.freed:
            await asyncio.sleep(0.001)


def test_chunks_that_merged_while_nobody_read_are_vague_but_for_the_last() -> None:
    async def run() -> Told:
        async with pair() as (made, server):
            await made.stamping()
            server.send(ANSWER[0] + ANSWER[1])
            time.sleep(0.2)
            again_s = time.perf_counter()
            server.send(b"".join(ANSWER[2:]))
            time.sleep(0.05)
            await until(made.told)
            assert made.stream.first_s == made.stream.last_s > again_s - 0.002
            return made.told

    told = uvloop.run(run())
    assert told.ends == [End.OK]
    assert (told.untimed, told.vague) == (0, TOKENS - 1)


def test_it_is_counted_who_took_the_usual_chunks_in() -> None:
    async def run() -> Told:
        async with pair() as (made, server):
            await made.stamping()
            for part in ANSWER:
                server.send(part)
                await asyncio.sleep(0.02)
            await until(made.told)
            return made.told

    told = uvloop.run(run())
    assert told.ends == [End.OK]
    assert (told.compiled > 0) is readers.compiled()


def test_a_chunk_came_when_the_kernel_had_it_however_late_it_is_read() -> None:
    async def run() -> tuple[float, float, float, Told]:
        async with pair() as (made, server):
            await made.stamping()
            before_s = time.perf_counter()
            server.send(ANSWER[0] + ANSWER[1])
            after_s = time.perf_counter()
            time.sleep(0.2)
            async with asyncio.timeout(20):
                while not made.stream.first_s:
                    await asyncio.sleep(0.001)
            return before_s, made.stream.first_s, after_s, made.told

    before_s, first_s, after_s, told = uvloop.run(run())
    assert before_s - 0.002 < first_s < after_s + 0.1
    assert told.untimed == told.vague == 0


def test_no_stamp_is_believed_once_real_time_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    class Set:
        """Real time, set forward by five seconds."""

        @staticmethod
        def time() -> float:
            return time.time() + 5.0

    async def run() -> tuple[float, float, Told]:
        async with pair() as (made, server):
            await made.stamping()
            server.send(ANSWER[0] + ANSWER[1])
            time.sleep(0.05)
            monkeypatch.setattr(stamps, "time", Set)
            set_s = time.perf_counter()
            async with asyncio.timeout(20):
                while not made.stream.first_s:
                    await asyncio.sleep(0.001)
            return set_s, made.stream.first_s, made.told

    set_s, first_s, told = uvloop.run(run())
    assert set_s <= first_s  # when it was read; the stamp would say five seconds off
    assert told.untimed == 1


def test_a_stamp_from_another_time_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "seconds", lambda _: (0, 0))

    async def run() -> Told:
        async with pair() as (made, server):
            before_s = time.perf_counter()
            server.send(b"".join(ANSWER))
            await until(made.told)
            assert made.stream.first_s >= before_s
            return made.told

    assert uvloop.run(run()).untimed == TOKENS + 2


def test_a_unix_socket_has_no_stamps(tmp_path: Path) -> None:
    async def run() -> Told:
        async with pair(str(tmp_path / "s")) as (made, server):
            server.send(b"".join(ANSWER))
            await until(made.told)
            return made.told

    told = uvloop.run(run())
    assert told.ends == [End.OK]
    assert told.untimed == TOKENS + 2


def test_a_request_larger_than_every_buffer_arrives_whole() -> None:
    sent = random.Random(3).randbytes(30_000_000)

    async def run() -> bytes:
        async with pair() as (made, server):
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(server, 1) == b"?"
            made.stream._transport.write(sent)  # type: ignore[union-attr]
            got = bytearray()
            while len(got) < len(sent):
                got += await loop.sock_recv(server, 1 << 20)
            server.send(b"".join(ANSWER))
            await until(made.told)
            assert made.told.ends == [End.OK]
            return bytes(got)

    assert uvloop.run(run()) == sent


def test_a_reset_and_a_closed_connection_end_the_request() -> None:
    async def run(linger: bool) -> Told:
        async with pair() as (made, server):
            if linger:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            server.close()
            await until(made.told)
            return made.told

    for linger in (False, True):
        assert uvloop.run(run(linger)).ends == [End.RESET]


@pytest.mark.parametrize("step", [1, 7, len(STREAM)])
def test_the_event_loop_reads_what_the_drain_reads(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.loadgen.driver.HERE", False)
    row = answered(tmp_path, STREAM, step)
    assert (row["end"], row["chunks"]) == (End.OK, 5)


def test_malformed_responses_end_through_sockets_as_they_do_without() -> None:
    source = random.Random(5)
    responses = [response(source, TEXT) for _ in range(2000)]

    async def one(packets: list[bytes]) -> tuple[list[End], Any]:
        made = Pair()
        server = await made.connected()
        made.stream.send(request(), b"?")
        with contextlib.suppress(OSError):  # the client may have left
            for packet in packets:
                server.send(packet)
                await asyncio.sleep(0)
            server.shutdown(socket.SHUT_WR)
        await until(made.told)
        made.stream.close()
        await asyncio.sleep(0)
        made.drain.close()
        server.close()
        return made.told.ends, (made.stream.status, len(made.stream.gaps))

    async def run() -> None:
        for packets in responses:
            told, stream = answer(packets, chat=False)
            assert await one(packets) == (told.ends, (stream.status, len(stream.gaps))), packets

    uvloop.run(run())


class Crowd:
    """Many streams of one drain, and the servers' ends of their connections."""

    def __init__(self) -> None:
        self.told = Told(chat=False)
        self.drain = Drain(self.told, readers.reader())
        self.streams: list[Stream] = []
        self.servers: list[socket.socket] = []

    async def fill(self, count: int) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=count) as listener:
            for _ in range(count):
                stream = Stream(self.told)
                await self.drain.connect(socket.AF_INET, listener.getsockname(), stream)
                self.streams.append(stream)
                self.servers.append(listener.accept()[0])
                stream.send(request(), b"?")

    async def say(self, piece: bytes, until_s: float) -> None:
        """One piece to each stream, evenly until then; beats as a worker does."""
        began_s = time.perf_counter()
        for place, server in enumerate(self.servers):
            server.send(piece)
            due_s = began_s + (until_s - began_s) * (place + 1) / len(self.servers)
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            if place % 25 == 0:
                self.drain.beat()

    async def leave(self) -> None:
        for stream in self.streams:
            stream.close()
        await asyncio.sleep(0)
        self.drain.close()
        for server in self.servers:
            server.close()


def test_under_a_heavy_load_it_rests_and_tells_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "FEWEST", 4)

    async def run() -> list[float]:
        crowd = Crowd()
        await crowd.fill(100)
        await crowd.say(ANSWER[0] + ANSWER[1], time.perf_counter() + 0.1)
        for _ in range(TOKENS - 1):
            await crowd.say(ANSWER[2], time.perf_counter() + 0.1)
        assert crowd.drain._resting
        for _ in range(60):
            crowd.drain.beat()
        assert not crowd.drain._resting
        for server in crowd.servers:  # the event loop tells of them again
            server.send(b"".join(ANSWER[TOKENS + 1 :]))
        async with asyncio.timeout(20):
            while crowd.told.freed < 100:
                await asyncio.sleep(0.001)
        assert crowd.told.ends == [End.OK] * 100
        assert crowd.told.untimed == 0
        gaps = [gap for stream in crowd.streams for gap in stream.gaps]
        await crowd.leave()
        return gaps

    gaps = uvloop.run(run())
    assert len(gaps) == 100 * (TOKENS - 1)
    assert sorted(gaps)[len(gaps) // 2] > 0.09


def test_lent_lines_are_read_without_python(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    received = Stream.received

    def noting(stream: Stream, data: bytes, now: float) -> None:
        seen.append(data)
        received(stream, data, now)

    monkeypatch.setattr(Stream, "received", noting)

    async def run() -> tuple[list[float], Told]:
        crowd = Crowd()
        await crowd.fill(1)
        for piece in (ANSWER[0] + ANSWER[1], *ANSWER[2:]):
            await crowd.say(piece, time.perf_counter() + 0.05)
        async with asyncio.timeout(20):
            while not crowd.told.freed:
                await asyncio.sleep(0.001)
        await crowd.leave()
        return list(crowd.streams[0].gaps), crowd.told

    gaps, told = uvloop.run(run())
    assert told.ends == [End.OK]
    assert told.chunks == TOKENS + 2
    assert len(gaps) == TOKENS - 1
    assert min(gaps) > 0.02
    usual = sum(data == ANSWER[1] for data in seen)
    assert usual == (0 if readers.compiled() else TOKENS - 1)


def test_compiled_code_reads_where_it_is_worth_its_second(tmp_path: Path) -> None:
    def has(workers: int = 1, **arrivals: Any) -> bool:
        told = {"model": "m", "input_tokens": 4, "output_tokens": 4, "duration_s": 1}
        spec = make_spec(urls=["x"], processes=workers, **told, **arrivals)
        endpoint = Endpoint("127.0.0.1", 1, False, "", "127.0.0.1")
        return make_quick(make_jobs(spec, [endpoint], tmp_path)[0]) is not None

    assert [has(concurrency=n) for n in (255, 256)] == [False, True]
    assert [has(2, concurrency=n) for n in (511, 512)] == [False, True]
    assert [has(request_rate=rate) for rate in (19.0, 20.0)] == [False, True]
    assert has(request_rate=1.0, request_rate_to=50.0)


def test_python_reads_where_nothing_can_be_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "headrace.loadgen.fast.quick", None)
    told = {"model": "m", "input_tokens": 4, "output_tokens": 4, "duration_s": 1}
    spec = make_spec(urls=["x"], concurrency=1000, **told)
    endpoint = Endpoint("127.0.0.1", 1, False, "", "127.0.0.1")
    assert make_quick(make_jobs(spec, [endpoint], tmp_path)[0]) is None
