"""Where requests go: the parts of a server's base URL."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import SplitResult, urlsplit

from headrace.errors import HeadraceError, InputError

EXAMPLE = "expected http://HOST:PORT, https://HOST (with or without /v1) or unix:///PATH"


@dataclass(frozen=True)
class Endpoint:
    """One server. `prefix` is the path before `/v1`; `address` is the resolved host.

    `socket` is the path of a Unix socket, where the server listens on one.
    """

    host: str
    port: int
    tls: bool
    prefix: str
    address: str = ""
    socket: str = ""

    @property
    def origin(self) -> str:
        """`http://host:port`, for messages."""
        if self.socket:
            return f"unix://{self.socket}"
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parse_endpoint(url: str) -> Endpoint:
    """The parts of a base URL. Raises InputError with what was expected; contacts nothing."""
    if url.startswith("unix:"):
        return _unix(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError(f"--url {url}: {error}", hint=EXAMPLE) from error
    _check(url, parts)
    tls = parts.scheme == "https"
    prefix = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return Endpoint(parts.hostname or "", port or (443 if tls else 80), tls, prefix)


def _unix(url: str) -> Endpoint:
    path = url.removeprefix("unix:").removeprefix("//")
    if not path.startswith("/"):
        raise InputError(f"--url {url}: expected an absolute path", hint=EXAMPLE)
    return Endpoint("localhost", 80, tls=False, prefix="", socket=path)


def _check(url: str, parts: SplitResult) -> None:
    if parts.username or parts.password:
        raise InputError(
            f"--url with a user or password in it (host {parts.hostname})",
            hint="name an environment variable that holds the key with --api-key-env",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"--url {url}: not an HTTP URL", hint=EXAMPLE)
    if parts.query or parts.fragment or any(c.isspace() or ord(c) < 33 for c in url):
        raise InputError(f"--url {url}: a base URL has no query, fragment or blanks", hint=EXAMPLE)


def resolve(endpoint: Endpoint) -> Endpoint:
    """The endpoint with its address looked up once, so that no request waits for DNS.

    Raises HeadraceError when the name does not resolve.
    """
    if endpoint.socket:
        return endpoint
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise HeadraceError(
            f"{endpoint.origin}: the host name does not resolve ({error})",
            hint="check --url, or give the address itself",
        ) from error
    return replace(endpoint, address=first_address(found))


def resolve_all(endpoints: list[Endpoint]) -> list[Endpoint]:
    """All endpoints with their addresses, looked up at the same time.

    Raises HeadraceError when the first name does not resolve. Another one that does not has no
    address: what is sent there is counted as failed, as if its name had gone during the load.
    """
    with ThreadPoolExecutor(max_workers=min(16, len(endpoints))) as pool:
        later = pool.map(_resolve_if_it_does, endpoints[1:])
        return [resolve(endpoints[0]), *later]


def _resolve_if_it_does(endpoint: Endpoint) -> Endpoint:
    try:
        return resolve(endpoint)
    except HeadraceError:
        return endpoint


def first_address(found: Sequence[tuple[Any, ...]]) -> str:
    """The address to use of those that `getaddrinfo` found: IPv4 where there is one."""
    return str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])
