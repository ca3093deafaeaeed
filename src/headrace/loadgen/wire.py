"""How machines that load together talk: JSON messages and files over one authenticated connection.

Python's own `multiprocessing.connection` does the framing, and proves on both sides by HMAC that
the other one knows the token, without sending it. Nothing is pickled.
"""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from typing import Any

import orjson

from headrace.errors import InputError

TOKEN_ENV = "HEADRACE_BENCH_TOKEN"
LOST = (EOFError, OSError)
"""What a connection raises when the other machine is gone."""


def token() -> bytes:
    """The secret that all machines of a load share. Raises InputError when it is not set."""
    value = os.environ.get(TOKEN_ENV, "").strip()
    if not value:
        raise InputError(
            f"{TOKEN_ENV}: the environment variable is not set",
            hint=f"export {TOKEN_ENV}=... with the same random text on every machine",
        )
    return value.encode()


def parse_address(text: str, option: str) -> tuple[str, int]:
    """`HOST:PORT`. Raises InputError that names the option."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InputError(f"{option} {text}: expected HOST:PORT")
    return host.strip("[]"), int(port)


def send(wire: Connection, **message: Any) -> None:
    """Send one message."""
    wire.send_bytes(orjson.dumps(message))


def receive(wire: Connection) -> dict[str, Any]:
    """The next message. Raises EOFError or OSError when the other machine is gone."""
    found: dict[str, Any] = orjson.loads(wire.recv_bytes())
    return found
