"""Where requests go: the parts of a server's base URL."""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
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
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    address = str(found[0][4][0])
    return replace(endpoint, address=address)
