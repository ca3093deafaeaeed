"""100,000 malformed responses: each request ends once, under a name, and is never called good
unless everything that makes it good came."""

import random
from collections import Counter

import pytest

from headrace.loadgen.client import Stream
from headrace.loadgen.exchange import Request
from headrace.loadgen.failure import End, end_name
from headrace.loadgen.schedule import Phase
from headrace.loadgen.source import Ask

pytestmark = pytest.mark.compute

RESPONSES = 100_000
TOKENS = 4


class Wire:
    """A transport that only remembers that it was dropped."""

    def __init__(self) -> None:
        self.dropped = False

    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    def abort(self) -> None:
        self.dropped = True

    def get_extra_info(self, name: str) -> None:
        return None


class Told:
    """An owner that counts what it hears."""

    chunks = untimed = vague = compiled = 0
    simulated = False
    exact = True

    def __init__(self, *, chat: bool) -> None:
        self.chat = chat
        self.ends: list[End] = []
        self.freed = 0
        self.stales = 0

    def began(self, request: Request) -> None:
        """Not looked at."""

    def ended(self, stream: Stream, request: Request, end: End) -> None:
        self.ends.append(end)

    def free(self, stream: Stream, request: Request) -> None:
        self.freed += 1

    def stale(self, stream: Stream, request: Request) -> None:
        self.stales += 1


def chunked(*events: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events) + b"0\r\n\r\n"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
OTHER = USAGE.replace(b"4", b"5")
TEXT = b'data: {"choices":[{"index":0,"text":" a"}],"usage":null}\n\n'
DELTA = b'data: {"choices":[{"index":0,"delta":{"content":" a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def good(token: bytes) -> list[bytes]:
    """A good response in the pieces that a server writes."""
    events = [token] * TOKENS + [USAGE, DONE]
    head = SSE + b"Transfer-Encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%b\r\n" % (len(event), event) for event in events), b"0\r\n\r\n"]


def bad(source: random.Random, token: bytes) -> bytes:
    """A response that a hostile or broken server might send."""
    body = (
        token * source.randrange(6)
        + source.choice([USAGE, OTHER, b""])
        + source.choice([DONE, b""])
    )
    kind = source.randrange(8)
    if kind == 0:
        length = max(0, len(body) + source.choice([-9, -1, 1, 9]))
        return SSE + b"Content-Length: %d\r\n\r\n" % length + body
    if kind == 1:
        status = source.choice([100, 204, 301, 404, 429, 500, 503])
        return b"HTTP/1.1 %d X\r\nRetry-After: %d\r\nContent-Length: 3\r\n\r\nno!" % (status, kind)
    if kind == 2:
        return b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body
    if kind == 3:
        return SSE + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n\x1f\x8b" + bytes(7)
    if kind == 4:
        return source.randbytes(source.randrange(200))
    if kind == 5:
        return b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * source.randrange(50)
    if kind == 6:
        return SSE + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, source.randbytes(9))
    return SSE + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n" + body


def mutated(source: random.Random, data: bytes) -> bytes:
    """The data with bytes flipped, dropped, doubled or cut off."""
    made = bytearray(data)
    for _ in range(source.randrange(1, 4)):
        place = source.randrange(len(made) + 1)
        how = source.randrange(4)
        if how == 0 and place < len(made):
            made[place] = source.randrange(256)
        elif how == 1:
            del made[place : place + source.randrange(20)]
        elif how == 2:
            made[place:place] = made[place : place + source.randrange(40)]
        else:
            del made[place:]
    return bytes(made)


def response(source: random.Random, token: bytes) -> list[bytes]:
    """The packets of one response, most of them broken somewhere."""
    if source.random() < 0.6:
        packets = good(token)
        place = source.randrange(len(packets))
        packets[place] = mutated(source, packets[place])
        return packets
    data = bad(source, token)
    if source.random() < 0.3:
        data = mutated(source, data)
    step = source.choice([1 + len(data), 64, 7])
    return [data[start : start + step] for start in range(0, len(data), step)]


def answer(packets: list[bytes], *, chat: bool) -> tuple[Told, Stream]:
    """What becomes of one request on a new connection that then closes."""
    told = Told(chat=chat)
    stream = Stream(told)
    wire = Wire()
    stream.connection_made(wire)  # type: ignore[arg-type]
    stream.send(Request(Phase.MEASURED, Ask(None, 0, 3, TOKENS), 0, 0.0, None), b"")  # type: ignore[arg-type]
    for packet in packets:
        if wire.dropped:
            break
        stream.data_received(packet)
    stream.connection_lost(None)
    return told, stream


def test_malformed_responses_end_once_and_under_a_name() -> None:
    source = random.Random(7)
    ends: Counter[str] = Counter()
    for number in range(RESPONSES):
        chat = number % 2 == 1
        packets = response(source, DELTA if chat else TEXT)
        told, stream = answer(packets, chat=chat)
        assert len(told.ends) == told.freed == 1, packets
        assert not told.stales
        end = told.ends[0]
        ends[end_name(end, stream.status)] += 1
        if end is End.OK:
            whole = b"".join(packets)
            assert b"[DONE]" in whole, packets
            assert b'"completion_tokens":4' in whole, packets
            assert stream.first_s
            assert stream.usage.output_tokens == TOKENS
    assert ends["ok"] > 1000  # mutations that do no harm
    seen = {"bad_http", "bad_json", "bad_sse", "cut_stream", "encoded", "http_429", "http_503"}
    seen |= {"no_usage", "empty_stream", "reset", "token_mismatch", "wrong_length"}
    assert seen <= set(ends), ends


def test_the_short_cut_reads_what_the_long_way_reads() -> None:
    """Splitting a packet in two sends it the long way, joining packets the way for many chunks."""
    source = random.Random(11)
    for number in range(5000):
        chat = number % 2 == 1
        packets = response(source, DELTA if chat else TEXT)
        split = [half for packet in packets for half in (packet[:1], packet[1:]) if half]
        (one, short), (other, long) = answer(packets, chat=chat), answer(split, chat=chat)
        assert one.ends == other.ends, packets
        assert len(short.gaps) == len(long.gaps), packets
        assert (short.status, short.reasoning_chunks) == (long.status, long.reasoning_chunks)
        joined = [*packets[:2], b"".join(packets[2:])]
        many, several = answer(joined, chat=chat)
        assert one.ends == many.ends, packets
        assert len(short.gaps) == len(several.gaps), packets


@pytest.mark.parametrize("chat", [False, True])
def test_a_carriage_return_ends_a_line_on_every_way(chat: bool) -> None:
    """JSON takes it for a blank, the event stream for the end of the event's line."""
    token = DELTA if chat else TEXT
    odd = token.replace(b'{"index"', b'{\r"index"')
    packets = [*good(token)[:2], *(b"%x\r\n%b\r\n" % (len(event), event) for event in (odd, odd))]
    split = [half for packet in packets for half in (packet[:1], packet[1:])]
    for way in (packets, split, [*packets[:2], b"".join(packets[2:])]):
        assert answer(way, chat=chat)[0].ends == [End.BAD_JSON], way
