"""The client in this process, against a server in the same loop."""

import asyncio
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop

from headrace.loadgen.closed import ClosedLoop
from headrace.loadgen.driver import Driver
from headrace.loadgen.endpoint import Endpoint
from headrace.loadgen.failure import End, end_name
from headrace.loadgen.head import request_heads
from headrace.loadgen.open import OpenLoop
from headrace.loadgen.records import Records, load_records
from headrace.loadgen.schedule import Phase
from headrace.loadgen.share import make_jobs
from headrace.loadgen.spec import make_spec
from headrace.loadgen.trail import Trail
from tests.loadgen import paced, readers

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("each_reader")]


def load(folder: Path, server: paced.Server | None = None, **changes: Any) -> Records:
    """Run one worker's driver until all asked requests ended (at most 5 s)."""
    values = {"model": "steady", "input_tokens": 40, "output_tokens": 6, "requests": 4}
    if "request_rate" not in changes:
        values["concurrency"] = 2
    spec = make_spec(urls=["http://127.0.0.1"], **{**values, "start": "together", **changes})

    async def run() -> float:
        async with paced.running(server) as (_, port):
            endpoint = Endpoint("127.0.0.1", port, False, "", "127.0.0.1")
            job = make_jobs(spec, [endpoint], folder)[0]
            trail = Trail(folder, 0)
            kind = OpenLoop if spec.request_rate else ClosedLoop
            start_s = time.perf_counter()
            await until_over(kind(job, trail, request_heads(job, None), readers.reader()), start_s)
            trail.close()
        return start_s

    return load_records(folder, [uvloop.run(run())])


async def until_over(driver: Driver, start_s: float) -> None:
    driver.start(start_s)
    async with asyncio.timeout(5):
        while driver.quota.left:
            driver.sweep()
            await asyncio.sleep(0.01)
    driver.stop()


async def driving(folder: Path, endpoint: Endpoint, **changes: Any) -> Driver:
    """One stream's driver, held against that endpoint for a moment."""
    told = {"model": "m", "input_tokens": 4, "output_tokens": 4, "concurrency": 1}
    spec = make_spec(urls=["x"], duration_s=1, start="together", **told, **changes)
    job = make_jobs(spec, [endpoint], folder)[0]
    trail = Trail(folder, 0)
    driver = ClosedLoop(job, trail, request_heads(job, None))
    driver.start(time.perf_counter())
    await asyncio.sleep(0.4)
    driver.stop()
    trail.close()
    return driver


def driven(folder: Path, endpoint: Endpoint, **changes: Any) -> Driver:
    return uvloop.run(driving(folder, endpoint, **changes))


def names(records: Records) -> Counter[str]:
    rows = records.rows
    return Counter(end_name(int(r["end"]), int(r["status"]) or 200) for r in rows)


def test_latencies_are_the_servers_schedule(tmp_path: Path) -> None:
    records = load(tmp_path, requests=6)
    rows = records.rows
    assert names(records) == {"ok": 6}
    ttft_s = rows["first_token_s"] - rows["sent_s"]
    span_s = rows["last_token_s"] - rows["first_token_s"]
    assert np.all(ttft_s > paced.TTFT_S - 0.002)
    assert np.all(ttft_s + span_s > paced.TTFT_S + 5 * paced.GAP_S - 0.002)
    assert rows["output_tokens"].tolist() == [6] * 6
    assert rows["input_tokens"].tolist() == [40] * 6
    assert rows["chunks"].tolist() == [6] * 6
    assert set(rows["replica"].tolist()) == {b"r7"}
    gaps_s = records.gaps_by_row(np.ones(6, bool))
    assert len(gaps_s) == 30
    assert gaps_s.sum() == pytest.approx(span_s.sum(), rel=1e-3)


def test_two_connections_carry_all_requests_of_two_lanes(tmp_path: Path) -> None:
    server = paced.Server()
    load(tmp_path, server, requests=8)
    assert server.connections == 2
    assert server.open_max == 2


def test_several_tokens_in_one_chunk_are_counted_by_usage(tmp_path: Path) -> None:
    rows = load(tmp_path, model="several", output_tokens=7).rows
    assert set(rows["output_tokens"].tolist()) == {7}
    assert set(rows["chunks"].tolist()) == {3}


def test_chat_does_not_take_the_role_for_a_token(tmp_path: Path) -> None:
    rows = load(tmp_path, endpoint="chat").rows
    assert set(rows["chunks"].tolist()) == {6}
    assert np.all(rows["first_token_s"] - rows["sent_s"] > paced.TTFT_S - 0.002)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("cut", "cut_stream"),
        ("ends-early", "cut_stream"),
        ("no-usage", "no_usage"),
        ("short", "token_mismatch"),
        ("garbage", "bad_json"),
        ("says-error", "stream_error"),
        ("close", "reset"),
        ("broken", "http_500"),
        ("limited", "http_429"),
        ("gzip", "encoded"),
        ("page", "bad_sse"),
        ("noise", "bad_http"),
        ("old-http", "ok"),
        ("old-http-cut", "cut_stream"),
        ("old-http-503", "http_503"),
        ("too-long-a-length", "wrong_length"),
        ("too-short-a-length", "wrong_length"),
        ("part-of-a-head", "reset"),
    ],
)
def test_each_fault_has_its_name(tmp_path: Path, fault: str, name: str) -> None:
    records = load(tmp_path, model=fault, requests=2)
    assert names(records) == {name: 2}
    assert np.all(records.rows["done_s"] >= records.rows["sent_s"])


def test_faults_between_good_answers_leave_those_alone(tmp_path: Path) -> None:
    records = load(tmp_path, model="half-cut", requests=8, concurrency=1)
    assert names(records) == {"ok": 4, "cut_stream": 4}


def test_a_server_that_takes_the_request_and_says_nothing(tmp_path: Path) -> None:
    records = load(tmp_path, model="hang", requests=2, stall_timeout_s=0.05)
    assert names(records) == {"no_answer": 2}


def test_headers_that_trickle_in_are_no_answer(tmp_path: Path) -> None:
    records = load(tmp_path, model="slow-head", requests=2, stall_timeout_s=0.1)
    assert names(records) == {"no_answer": 2}


def test_a_half_open_stream_is_a_stall(tmp_path: Path) -> None:
    records = load(tmp_path, model="goes-silent", requests=2, stall_timeout_s=0.1)
    assert names(records) == {"stall": 2}


def test_a_stream_that_never_ends_is_cut_off(tmp_path: Path) -> None:
    records = load(tmp_path, model="endless", output_tokens=2, requests=2)
    assert names(records) == {"too_long": 2}


def test_a_host_that_takes_no_connection_is_a_connect_timeout(tmp_path: Path) -> None:
    """A listener whose backlog is full takes a connection no further than the kernel does."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        endpoint = Endpoint("127.0.0.1", full.getsockname()[1], False, "", "127.0.0.1")
        driver = driven(tmp_path, endpoint, connect_timeout_s=0.2)
        for filler in fillers:
            filler.close()
    assert "connect_timeout" in driver.examples


def test_a_server_that_speaks_no_tls_is_a_tls_failure(tmp_path: Path) -> None:
    def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def run() -> Driver:
        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        driver = await driving(tmp_path, Endpoint("localhost", port, True, "", "127.0.0.1"))
        server.close()
        await asyncio.sleep(0.01)
        return driver

    assert list(uvloop.run(run()).examples) == ["tls"]


def test_a_long_request_is_a_timeout(tmp_path: Path) -> None:
    records = load(tmp_path, output_tokens=2000, requests=1, request_timeout_s=0.1)
    assert names(records) == {"timeout": 1}


def test_a_connection_closed_between_requests_costs_none(tmp_path: Path) -> None:
    server = paced.Server()
    records = load(tmp_path, server, model="closes-after")
    assert names(records) == {"ok": 4}
    assert len(server.requests) == 4


def test_a_dead_port_is_counted_and_does_not_spin(tmp_path: Path) -> None:
    driver = driven(tmp_path, Endpoint("127.0.0.1", 9, False, "", "127.0.0.1"))
    assert 1 <= driver.failed < 12
    assert list(driver.examples) == ["connect"]


def test_the_first_wave_is_spread_then_measured_then_filled(tmp_path: Path) -> None:
    server = paced.Server()
    records = load(tmp_path, server, start="spread", concurrency=4, requests=4, output_tokens=20)
    warm = records.in_phase(Phase.WARMUP)
    assert warm.sum() == 4
    assert min(records.rows["asked_tokens"][warm]) <= 5
    assert max(records.rows["asked_tokens"][warm]) > 15
    measured = records.in_phase(Phase.MEASURED)
    assert (measured & records.ended(End.OK)).sum() == 4
    assert set(records.rows["asked_tokens"][measured].tolist()) == {20}
    cut = records.ended(End.CUT)
    assert (cut & records.in_phase(Phase.FILL)).sum() == cut.sum() > 0
    assert server.open_max == 4


def test_open_loop_sends_on_schedule_however_slow_the_server_is(tmp_path: Path) -> None:
    server = paced.Server()
    records = load(tmp_path, server, request_rate=100.0, requests=20)
    rows = records.rows
    assert names(records) == {"ok": 20}
    assert server.open_max > 2
    assert np.all(rows["sent_s"] >= rows["scheduled_s"])
    assert np.median(rows["sent_s"] - rows["scheduled_s"]) < 0.05
    assert len(records.lags[0]) == 20


STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"".join(
        b"%x\r\n%b\r\n" % (len(event), event)
        for event in (
            b'data: {"choices":[{"text":"a"}]}\n\n',
            b'data: {"choices":[{"text":"\xc3\xa9"}]}\n\ndata: {"choices":[{"text":"c"}]}\n\n',
            b'data: {"choices":[{"te',
            b'xt":"d"}]}\n\n',
            b'data: {"choices":[{"text":"e"}],"usage":null}\n\n',
            b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":5}}\n\n',
            b"data: [DONE]\n\n",
        )
    )
    + b"0\r\n\r\n"
)


@pytest.mark.parametrize("step", [1, 2, 7, 64, len(STREAM)])
def test_a_response_may_be_split_anywhere(tmp_path: Path, step: int) -> None:
    rows = [answered(tmp_path, STREAM, step) for _ in range(2)]
    assert [row["end"] for row in rows] == [End.OK, End.OK]
    assert [row["chunks"] for row in rows] == [5, 5]


def answered(folder: Path, stream: bytes, step: int) -> Any:
    """The record of one request whose answer comes in pieces of `step` bytes."""

    async def pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b'"max_tokens":5}')
        for start in range(0, len(stream), step):
            writer.write(stream[start : start + step])
            await asyncio.sleep(0)
        await reader.read()
        writer.close()

    async def run() -> float:
        server = await asyncio.start_server(pieces, "127.0.0.1", 0)
        endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1], False, "", "127.0.0.1")
        spec = make_spec(
            urls=["x"], model="m", input_tokens=4, output_tokens=5,
            concurrency=1, requests=1, start="together",
        )  # fmt: skip
        trail = Trail(folder, 0)
        job = make_jobs(spec, [endpoint], folder)[0]
        await until_over(ClosedLoop(job, trail, request_heads(job, None)), time.perf_counter())
        trail.close()
        server.close()
        await asyncio.sleep(0.005)
        return 0.0

    return load_records(folder, [uvloop.run(run())]).rows[0]
