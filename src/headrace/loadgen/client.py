"""One HTTP/1.1 connection that carries one streamed completion after the other."""

from __future__ import annotations

import asyncio
from array import array
from time import perf_counter
from typing import Any, Protocol, cast

import httptools
import orjson

from headrace.loadgen.failure import End
from headrace.loadgen.schedule import Phase
from headrace.loadgen.sse import SseOverflowError, SseParser

MAX_TOKEN = 2**32 - 1
EXAMPLE_BYTES = 600


class Request:
    """One request from its schedule to its end. Times are on the perf_counter clock, in seconds."""

    __slots__ = ("lane", "phase", "retried", "scheduled_s", "tokens", "url")

    def __init__(self, phase: Phase, tokens: int, url: int, scheduled_s: float, lane: Any) -> None:
        self.phase = phase
        self.tokens = tokens
        self.url = url
        self.scheduled_s = scheduled_s
        self.lane = lane
        self.retried = False


class Owner(Protocol):
    """Who sends requests over streams, and is told how they end."""

    chunks: int
    simulated: bool

    def began(self, request: Request) -> None:
        """The request's first token came."""

    def ended(self, stream: Stream, request: Request, end: End) -> None:
        """The request ended; its figures are still on the stream."""

    def free(self, stream: Stream, request: Request) -> None:
        """The exchange is over; follows `ended`. `stream.usable`: it takes another request."""

    def stale(self, stream: Stream, request: Request) -> None:
        """The server had closed the kept-alive connection before it saw the request."""


class Stream(asyncio.Protocol):
    """A connection. After `send`, the owner hears `ended` and then `free`, once each.

    The usual packet, one whole HTTP chunk with one whole event, is taken apart by hand; everything
    else goes through httptools and SseParser. The short cut is taken only where both of those
    stand between chunks and events, so skipping them leaves them right.
    """

    __slots__ = (
        *("_between", "_now", "_owner", "_parser", "_received", "_served", "_short", "_sse"),
        *("_transport", "done_s", "encoded", "end", "event_stream", "example", "first_s", "gaps"),
        *("heard_s", "last_s", "replica", "request", "retry_after", "sent_s", "status", "usable"),
        *("usage", "waiting"),
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parser: Any = httptools.HttpResponseParser(self)
        self._sse = SseParser()
        self._transport: asyncio.Transport | None = None
        self._served = 0
        self._now = 0.0
        self.usable = False
        self.request: Request | None = None
        self.waiting: Request | None = None
        self._reset()

    def _reset(self) -> None:
        self._short = False
        self._between = False
        self._received = False
        self.sent_s = self.first_s = self.last_s = self.done_s = self.heard_s = 0.0
        self.gaps = array("f")
        self.usage: Any = None
        self.status = 0
        self.end: End | None = None
        self.replica = b""
        self.example = b""
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
        self.request = self.waiting = request
        self.sent_s = self.heard_s = perf_counter()
        transport.write(data)

    def fail(self, end: End) -> None:
        """End the request in flight, if any, and drop the connection."""
        self._end(end)
        self.close()
        self._release()

    def close(self) -> None:
        """Drop the connection at once."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection can take its first request."""
        self._transport = cast("asyncio.Transport", transport)
        self.usable = True

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
            self._end(End.CUT_STREAM if self.first_s else End.RESET)
            self._release()

    def data_received(self, data: bytes) -> None:
        """Bytes of the response, cut anywhere: the short cut where it is safe, else `_parse`."""
        self._now = now = perf_counter()
        if self._short and data[-4:] == b"\n\n\r\n":
            start = data.find(b"\n", 0, 12) + 1
            end = len(data) - 4
            try:
                whole = int(data[: start - 2], 16) == end + 2 - start
            except ValueError:
                whole = False
            if whole and data.find(b"\n", start) == end and data[start : start + 6] == b"data: ":
                self._event(data[start + 6 : end], now)
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        """The way for every shape of packet."""
        self._received = True
        self.heard_s = self._now
        parser = self._parser
        if parser is None:
            return
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(End.BAD_HTTP)
            return
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

    def on_headers_complete(self) -> None:
        """The status is known; a body that cannot be read ends the request here."""
        self.status = self._parser.get_status_code()
        if self.request is None and self.waiting is None:
            self.fail(End.BAD_HTTP)
        elif self.encoded and self.status == 200:
            self.fail(End.ENCODED)

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
            self._event(event, self._now)

    def on_message_complete(self) -> None:
        """The response is over: the connection is free if the server keeps it."""
        self._between = self._short = False
        if 100 <= self.status < 200:
            return
        parser = self._parser
        if parser is None:
            return
        if self.request is not None:
            self._end(self._end_without_done())
        if parser.should_keep_alive():
            self._served += 1
        else:
            self.close()
        self._release()

    def _end_without_done(self) -> End:
        if self.status != 200:
            return End.HTTP
        return End.CUT_STREAM if self.event_stream or self.first_s else End.BAD_SSE

    # --- events

    def _event(self, payload: bytes, now: float) -> None:
        """One event of the stream: a piece of the completion, its usage, or its end."""
        if payload == b"[DONE]":
            self._done(now)
            return
        self._owner.chunks += 1
        try:
            event = orjson.loads(payload)
            choices = event["choices"]
            usage = event.get("usage")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            self._strange(payload)
            return
        if choices:
            if self.first_s:
                self.gaps.append(now - self.last_s)
            elif _opens_only(choices):
                return
            else:
                self.first_s = now
                self._began()
            self.last_s = self.heard_s = now
        if usage is not None:
            self.usage = usage

    def _began(self) -> None:
        if self.request is not None:
            self._owner.began(self.request)

    def _strange(self, payload: bytes) -> None:
        """An event that is no completion chunk: an error that the server reports, or garbage."""
        self.example = payload[:EXAMPLE_BYTES]
        self.fail(End.STREAM_ERROR if payload.startswith(b'{"error"') else End.BAD_JSON)

    def _done(self, now: float) -> None:
        request = self.request
        if request is None:
            return
        self.done_s = self.heard_s = now
        if not _is_usage(self.usage):
            self.fail(End.NO_USAGE)
        elif not self.first_s:
            self.fail(End.EMPTY_STREAM)
        elif self.usage["completion_tokens"] != request.tokens:
            self.fail(End.TOKEN_MISMATCH)
        else:
            self._end(End.OK)

    def _end(self, end: End) -> None:
        request, self.request = self.request, None
        if request is None:
            return
        if end is not End.OK:
            self.done_s = perf_counter()
        self.end = end
        self._owner.ended(self, request, end)

    def _release(self) -> None:
        request, self.waiting = self.waiting, None
        if request is not None:
            self._owner.free(self, request)


def _opens_only(choices: Any) -> bool:
    """A chat stream opens with the role and no token yet."""
    try:
        delta = choices[0].get("delta")
    except (AttributeError, LookupError, TypeError):
        return False
    if not isinstance(delta, dict) or "role" not in delta:
        return False
    return not any(value for key, value in delta.items() if key != "role")


def _is_usage(usage: Any) -> bool:
    if not isinstance(usage, dict):
        return False
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    return all(type(count) is int and 0 <= count <= MAX_TOKEN for count in counts)
