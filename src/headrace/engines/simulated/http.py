"""HTTP/1.1 messages: a parsed request, and the bytes of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import orjson

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request. `version` is "1.1" or "1.0"."""

    method: str
    path: str
    authorization: str
    body: bytes
    keep_alive: bool
    version: str = "1.1"


def head(status: HTTPStatus, content_type: str, framing: str, keep_alive: bool) -> bytes:
    """Status line and headers. Every answer says that the engine is simulated."""
    connection = "" if keep_alive else "connection: close\r\n"
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"date: {formatdate(usegmt=True)}\r\n"
        "server: headrace-simulated\r\n"
        "x-headrace-engine: simulated\r\n"
        f"content-type: {content_type}\r\n"
        f"{framing}\r\n{connection}\r\n"
    ).encode()


def whole(
    status: HTTPStatus,
    body: bytes,
    *,
    content_type: str = JSON,
    keep_alive: bool = True,
    with_body: bool = True,
) -> bytes:
    """An answer that is complete when it begins; `with_body` is false for HEAD."""
    framing = f"content-length: {len(body)}"
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        framing += "\r\nallow: GET, HEAD, POST"
    return head(status, content_type, framing, keep_alive) + (body if with_body else b"")


def stream_head(keep_alive: bool) -> bytes:
    """The head of a stream of server-sent events in chunked transfer-encoding."""
    return head(HTTPStatus.OK, EVENT_STREAM, "transfer-encoding: chunked", keep_alive)


def chunk(payload: bytes) -> bytes:
    """One chunk of chunked transfer-encoding."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


LAST_CHUNK = b"0\r\n\r\n"


def event(document: dict[str, Any]) -> bytes:
    """One server-sent event in a chunk of its own."""
    return chunk(b"data: " + orjson.dumps(document) + b"\n\n")


DONE = chunk(b"data: [DONE]\n\n")
