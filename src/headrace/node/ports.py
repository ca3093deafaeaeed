"""Free ports that stay free until a server that loads for minutes listens on them."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path

FIRST_PORT = 20_000
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES = 200


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now. Closed connections that linger do not count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def free_port(host: str, taken: Collection[int] = ()) -> int:
    """A free port below those that the kernel hands to outgoing connections, picked at random.

    A port of that upper range, which binding port 0 gives, may serve a client's connection by
    the time that the server gets to it.
    """
    last = max(FIRST_PORT + 1000, _first_outgoing() - 1)
    for _ in range(TRIES):
        port = random.randint(FIRST_PORT, last)
        if port not in taken and is_free(host, port):
            return port
    return _any_port(host)


def _first_outgoing() -> int:
    try:
        return int(RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768


def _any_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
