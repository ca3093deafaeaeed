"""HTTP/1.1 on a raw asyncio protocol: keep-alive, pipelining in order, back-pressure, limits."""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Any, Protocol, cast

import httptools
import orjson

from headrace.engines.simulated import http
from headrace.engines.simulated.faults import ApiError, plain
from headrace.engines.simulated.http import Request

PIPELINE_LIMIT = 16
"""Requests that may wait behind the one being answered before reading stops."""


class Service(Protocol):
    """Who answers the requests."""

    def handle(self, connection: Connection, request: Request) -> None:
        """Answer now, or open a stream on the connection."""

    def opened(self, connection: Connection) -> None:
        """A client has connected."""

    def closed(self, connection: Connection) -> None:
        """The connection is gone, with whatever was being answered."""


class Generating(Protocol):
    """What the connection tells the answer that is being generated on it."""

    blocked: bool

    def unblock(self) -> None:
        """The reader has caught up."""


class Connection(asyncio.Protocol):
    """One client connection. Answers one request at a time, in order."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._current: Request | None = None
        self._pumping = False
        self._blocked = False
        self._reading = True
        self._closing = False
        self._head_bytes = 0
        self._clear()
        self.generating: Generating | None = None

    def _clear(self) -> None:
        self._url = b""
        self._authorization = b""
        self._expects = False
        self._body: list[bytes] = []
        self._body_bytes = 0

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        self._service.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client has gone: what was generated for it is aborted."""
        self._closing = True
        self._waiting.clear()
        self._service.closed(self)
        self.generating = None

    def data_received(self, data: bytes) -> None:
        """Parse; whole requests are queued by the callbacks below."""
        if self._closing:
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(plain(HTTPStatus.NOT_IMPLEMENTED, "upgrades are not offered"))
        except httptools.HttpParserError as error:
            cause = error.__context__
            bad = plain(HTTPStatus.BAD_REQUEST, f"not a valid HTTP request: {error}")
            self._refuse(cause if isinstance(cause, ApiError) else bad)
        else:
            if self._head_bytes > http.MAX_HEAD_BYTES:
                self._refuse(plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        self._pump()

    def pause_writing(self) -> None:
        """The reader is slow: its answer keeps its tokens to itself."""
        self._blocked = True
        if self.generating:
            self.generating.blocked = True

    def resume_writing(self) -> None:
        """The reader has caught up."""
        self._blocked = False
        if self.generating:
            self.generating.unblock()
        self._pump()

    # Called by the parser

    def on_message_begin(self) -> None:
        """A request begins."""
        self._clear()

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; only three matter."""
        lowered = name.lower()
        if lowered == b"authorization":
            self._authorization = value
        elif lowered == b"expect":
            self._expects = value.lower() == b"100-continue"
        elif lowered == b"content-length" and int(value or 0) > http.MAX_BODY_BYTES:
            raise plain(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """The body may follow."""
        self._head_bytes = 0
        if self._expects and not self._current and not self._waiting:
            self.write(http.CONTINUE)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._head_bytes = 0
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > http.MAX_BODY_BYTES:
            raise plain(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._head_bytes = 0
        self._waiting.append(
            Request(
                method=self._parser.get_method().decode(),
                path=self._url.partition(b"?")[0].decode("latin-1"),
                authorization=self._authorization.decode("latin-1"),
                body=b"".join(self._body),
                keep_alive=self._parser.should_keep_alive(),
                version=self._parser.get_http_version(),
            )
        )
        self._body = []

    # Called by the service and its answers

    @property
    def is_blocked(self) -> bool:
        """Whether the reader is slow."""
        return self._blocked

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow the current one."""
        return not self._closing and bool(self._current and self._current.keep_alive)

    def respond(
        self,
        document: dict[str, Any] | bytes,
        status: HTTPStatus = HTTPStatus.OK,
        content_type: str = http.JSON,
    ) -> None:
        """A whole answer to the current request."""
        body = document if isinstance(document, bytes) else orjson.dumps(document)
        is_head = self._current is not None and self._current.method == "HEAD"
        keep_alive = self.keeps_alive
        self.write(
            http.whole(
                status,
                body,
                content_type=content_type,
                keep_alive=keep_alive,
                with_body=not is_head,
            )
        )
        self._done(keep_alive)

    def end_stream(self) -> None:
        """The stream's last bytes are written."""
        self._done(self.keeps_alive)

    def close_when_done(self) -> None:
        """Take no further request; close now if none is being answered."""
        if self._current is None:
            self._close()
        else:
            self._waiting.clear()
            self._closing = True

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def _done(self, keep_alive: bool) -> None:
        self._current = None
        self.generating = None
        if keep_alive:
            self._pump()
        else:
            self._close()

    def _pump(self) -> None:
        """Answer what is queued, one after the other, unless the reader is slow."""
        if self._pumping:
            return
        self._pumping = True
        while self._waiting and self._current is None and not self._blocked and not self._closing:
            self._current = self._waiting.popleft()
            self._service.handle(self, self._current)
        self._pumping = False
        self._pace_reading()

    def _pace_reading(self) -> None:
        wanted = len(self._waiting) < PIPELINE_LIMIT
        if wanted != self._reading and not self._closing:
            self._reading = wanted
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    def _refuse(self, error: ApiError) -> None:
        """What follows on this connection cannot be understood: answer, then close.

        While an earlier request is being answered the connection is only cut after that.
        """
        if self._current is not None:
            self.close_when_done()
            return
        body = orjson.dumps(error.body())
        self.write(http.whole(error.status, body, keep_alive=False))
        self._close()

    def _close(self) -> None:
        self._closing = True
        self._transport.close()
