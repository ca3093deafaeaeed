"""One HTTP/1.1 connection that carries one streamed completion after the other."""

from __future__ import annotations

import asyncio
import socket
from time import perf_counter
from typing import Any, Protocol, cast

import httptools

from headrace.loadgen.exchange import EXAMPLE_BYTES, Exchange, Request
from headrace.loadgen.failure import End
from headrace.loadgen.sse import SseOverflowError, SseParser

HEAD_BYTES_MAX = 1 << 18
"""Longest response head; a server that sends more never meant to answer."""
LARGEST = 4096
"""Longest chunk that the short cuts are tried on."""
TAIL = b"\n\n\r\n"
NONE = b"\0"


def _opening(packet_bytes: int) -> bytes:
    r"""How a packet of that length begins if it is one HTTP chunk with one event of one line.

    `d5\r\ndata: `: the length of the payload follows from the length of the packet.
    """
    for digits in (1, 2, 3):
        payload = packet_bytes - digits - 4
        if payload > 0 and len(f"{payload:x}") == digits:
            return b"%x\r\ndata: " % payload
    return NONE


OPENINGS = [_opening(packet_bytes) for packet_bytes in range(LARGEST + 1)]
SIZES = {b"%x" % size: size for size in range(1, LARGEST)}
SIZE_DIGITS = 5
"""In how many bytes a chunk's size and its line end must be found."""


class Owner(Protocol):
    """Who sends requests over streams, and is told how they end."""

    chunks: int
    untimed: int
    """Chunks timed when they were read, because the kernel did not say when they came, and"""
    vague: int
    """those whose time is not known well (see drain)."""
    compiled: int
    """Chunks that compiled code took in (see lending)."""
    simulated: bool
    chat: bool
    exact: bool

    def began(self, request: Request) -> None:
        """The request's first token came."""

    def ended(self, stream: Stream, request: Request, end: End) -> None:
        """The request ended; its figures are still on the stream."""

    def free(self, stream: Stream, request: Request) -> None:
        """The exchange is over; follows `ended`. `stream.usable`: it takes another request."""

    def stale(self, stream: Stream, request: Request) -> None:
        """The server had closed the kept-alive connection before it saw the request."""


class Transport(Protocol):
    """What carries a stream: a line of the drain, or a transport of the event loop."""

    def write(self, data: bytes, /) -> None:
        """Send it, or keep it until there is room."""

    def abort(self) -> None:
        """Close at once; `connection_lost` follows in the loop's next round."""

    def get_extra_info(self, name: str, /) -> Any:
        """The `socket`."""


class Stream(Exchange, asyncio.Protocol):
    """A connection. After `send`, the owner hears `ended` and then `free`, once each.

    The usual packets, whole HTTP chunks with one whole event each, are taken apart by hand;
    everything else goes through httptools and SseParser. The short cuts are taken only where both
    of those stand between chunks and events, so skipping them leaves them right.
    """

    __slots__ = (
        *("_between", "_head_bytes", "_length", "_now", "_owner", "_parser", "_received"),
        *("_served", "_short", "_sse", "_transport", "encoded", "event_stream", "replica"),
        *("retry_after", "status", "usable", "waiting"),
    )

    def __init__(self, owner: Owner) -> None:
        super().__init__(chat=owner.chat, exact=owner.exact)
        self._owner = owner
        self._parser: Any = httptools.HttpResponseParser(self)
        self._sse = SseParser()
        self._transport: Transport | None = None
        self._served = 0
        self._now = 0.0
        self.usable = False
        self.waiting: Request | None = None
        self._reset()

    def _reset(self) -> None:
        self._short = False
        self._between = False
        self._received = False
        self._head_bytes = 0
        self._length = False
        self.status = 0
        self.replica = b""
        self.retry_after = b""
        self.encoded = False
        self.event_stream = False

    # --- what the owner calls

    def send(self, request: Request, data: bytes) -> None:
        """Send one request; the one before must have been freed."""
        transport = self._transport
        assert transport is not None
        self._reset()
        self._sse.reset()
        self.begin(request)
        self.waiting = request
        self.sent_s = self.heard_s = perf_counter()
        transport.write(data)

    def settle(self) -> None:
        """Have all figures up to now: compiled code keeps those of a line that is lent to it."""
        settle = getattr(self._transport, "settle", None)
        if settle is not None:
            settle()

    def fail(self, end: End) -> None:
        """End the request in flight, if any, and drop the connection."""
        self.settle()
        self.finish(end)
        self.close()
        self._release()

    def close(self) -> None:
        """Drop the connection at once."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # --- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport | Transport) -> None:
        """The connection can take its first request."""
        self._transport = cast("Transport", transport)
        self.usable = True

    @property
    def plain_between(self) -> bool:
        """Whether what comes next is most likely one chunk that brings one more token."""
        return self.plain and self._short

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Whatever is in flight ends here, unless it can go on a new connection."""
        self.usable = False
        self._transport = None
        self._parser = None
        request = self.request
        if request is None:
            self._release()
        elif self._served and not self._received and not request.retried:
            request.retried = True
            self.request = self.waiting = None
            self._owner.stale(self, request)
        else:
            self.finish(self._lost())
            self._release()

    def _lost(self) -> End:
        if self.status not in (0, 200):
            return End.HTTP
        if self.status == 200 and self._length:
            return End.WRONG_LENGTH
        return End.CUT_STREAM if self.first_s else End.RESET

    def data_received(self, data: bytes) -> None:
        """Bytes that the event loop has read just now."""
        chunks = self._owner.chunks
        self.received(data, perf_counter())
        self._owner.untimed += self._owner.chunks - chunks

    def received(self, data: bytes, now: float) -> None:
        """Bytes of the response, cut anywhere: the short cuts where they are safe, else `_parse`.

        All chunks of one packet came at one time, `now`.
        """
        if self._short:
            size = len(data)
            opening = OPENINGS[size] if size <= LARGEST else NONE
            start = len(opening)
            if (
                data.startswith(opening)
                and data.find(b"\n", start) == size - 4
                and data.find(b"\r", start) == size - 2
                and data.endswith(TAIL)
            ):
                self._owner.chunks += 1
                self.usual(data[start:-4], now)
                return
            done = self._several(data, now)
            if done == size:
                return
            if done:
                data = data[done:]
        self._now = now
        self._parse(data)

    def _several(self, data: bytes, now: float) -> int:
        """Take the usual chunks from the front of a packet; returns where the rest begins."""
        start = 0
        while self.request is not None:
            head = data.find(b"\r\n", start, start + SIZE_DIGITS)
            size = SIZES.get(data[start:head]) if head > start else None
            if size is None:
                break
            end = head + 2 + size
            if (
                not data.startswith(b"data: ", head + 2)
                or data.find(b"\n", head + 8) != end - 2
                or data.find(b"\r", head + 8) != end
                or not data.startswith(TAIL, end - 2)
            ):
                break
            self._owner.chunks += 1
            self.usual(data[head + 8 : end - 2], now)
            start = end + 2
        return start

    def _parse(self, data: bytes) -> None:
        """The way for every shape of packet."""
        self._received = True
        parser = self._parser
        if parser is None:
            return
        if self.status:
            self.heard_s = self._now
        else:
            self._head_bytes += len(data)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(End.BAD_HTTP)
            return
        if not self.status and self._head_bytes > HEAD_BYTES_MAX:
            self.fail(End.BAD_HTTP)
        self._short = self._between and self._sse.clean and data.endswith(b"\r\n")

    # --- httptools

    def on_message_begin(self) -> None:
        """Nothing is known of the response yet."""
        self._between = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Headers that matter: what served this, and whether the body can be read."""
        name = name.lower()
        if name == b"x-headrace-replica":
            self.replica = value[:16]
        elif name == b"x-headrace-engine":
            self._owner.simulated = self._owner.simulated or value.lower() == b"simulated"
        elif name == b"content-encoding":
            self.encoded = value.lower() != b"identity"
        elif name == b"content-type":
            self.event_stream = value.lower().startswith(b"text/event-stream")
        elif name == b"retry-after":
            self.retry_after = value[:16]
        elif name == b"content-length":
            self._length = True

    def on_headers_complete(self) -> None:
        """The status is known; a body that cannot be read ends the request here."""
        self.status = self._parser.get_status_code()
        if self.request is None and self.waiting is None:
            self.fail(End.BAD_HTTP)
        elif self.encoded and self.status == 200:
            self.fail(End.ENCODED)
        else:
            self.heard_s = self._now

    def on_chunk_header(self) -> None:
        """Inside an HTTP chunk."""
        self._between = False

    def on_chunk_complete(self) -> None:
        """Between two HTTP chunks."""
        self._between = self.status == 200

    def on_body(self, body: bytes) -> None:
        """A piece of the body, cut anywhere."""
        if self.status != 200:
            self.example = (self.example + body)[:EXAMPLE_BYTES]
            return
        if self.request is None:
            return
        if not self.event_stream:
            self.example = (self.example + body)[:EXAMPLE_BYTES]
        try:
            events = self._sse.feed(body)
        except SseOverflowError:
            self.fail(End.BAD_SSE)
            return
        for event in events:
            if self.waiting is None:
                return
            self._owner.chunks += 1
            self.event(event, self._now)

    def on_message_complete(self) -> None:
        """The response is over: the connection is free if the server keeps it."""
        self._between = self._short = False
        if 100 <= self.status < 200:
            self.status = 0
            return
        parser = self._parser
        if parser is None:
            return
        keeps = parser.should_keep_alive()
        if self.request is not None:
            end = self._end_without_done()
            keeps = keeps and end is not End.WRONG_LENGTH
            self.finish(end)
        if keeps:
            self._served += 1
        else:
            self.close()
        self._release()

    def _end_without_done(self) -> End:
        if self.status != 200:
            return End.HTTP
        if not self.event_stream and not self.first_s:
            return End.BAD_SSE
        return End.WRONG_LENGTH if self._length else End.CUT_STREAM

    # --- what the owner hears

    def began(self) -> None:
        """The first token came: tell the owner, and acknowledge packets lazily from here on.

        Every acknowledgement costs as much as reading the packet. Where chunks come faster than
        one in 40 ms, this halves their number; where they do not, it changes nothing.
        """
        if self.request is not None:
            self._owner.began(self.request)
        if self._transport is not None and hasattr(socket, "TCP_QUICKACK"):
            wire = self._transport.get_extra_info("socket")
            if wire is not None and wire.family != socket.AF_UNIX:
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)

    def told(self, end: End) -> None:
        """The request ended: its figures stay until the next one is sent."""
        request, self.request = self.request, None
        self.plain = False
        if request is not None:
            self._owner.ended(self, request, end)

    def _release(self) -> None:
        request, self.waiting = self.waiting, None
        if request is not None:
            self._owner.free(self, request)
