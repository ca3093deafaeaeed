"""How a request can end: one name for each kind, as it appears in records and summaries."""

from __future__ import annotations

from enum import IntEnum


class End(IntEnum):
    """The end of a request. OK needs `[DONE]`, a usage block and the asked number of tokens."""

    OK = 0
    CUT = 1
    """The measurement ended first; neither completed nor failed."""
    CONNECT = 2
    """No connection: refused, unreachable, no free port."""
    CONNECT_TIMEOUT = 3
    TLS = 4
    """The TLS handshake failed."""
    TIMEOUT = 5
    """The whole request took longer than allowed."""
    STALL = 6
    """The stream began, then nothing arrived for too long."""
    RESET = 7
    """The connection was closed before the first event."""
    CUT_STREAM = 8
    """The stream ended without `[DONE]`."""
    NO_USAGE = 9
    """`[DONE]` came without a usage block."""
    EMPTY_STREAM = 10
    """`[DONE]` came without a single token."""
    TOKEN_MISMATCH = 11
    """The usage block counts other than the asked number of output tokens."""
    TOO_LONG = 12
    """Far more chunks than tokens asked for."""
    BAD_JSON = 13
    """An event is not the JSON of a completion chunk."""
    BAD_SSE = 14
    """The body is not an event stream."""
    BAD_HTTP = 15
    """The response is not HTTP/1.x, or breaks its framing."""
    ENCODED = 16
    """The response is compressed although that was not offered."""
    STREAM_ERROR = 17
    """The server reported an error inside the stream."""
    HTTP = 18
    """A status other than 200: named with it, `http_503`."""
    WRONG_LENGTH = 19
    """The body is longer or shorter than its Content-Length says."""
    NO_ANSWER = 20
    """The connection was taken, but no complete response head came: a hung or half-open server."""
    DNS = 21
    """The host name does not resolve (any more)."""


def end_name(end: int, status: int) -> str:
    """`cut_stream`, `http_429`, ..."""
    kind = End(end)
    return f"http_{status}" if kind is End.HTTP else kind.name.lower()
