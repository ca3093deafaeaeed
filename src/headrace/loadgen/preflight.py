"""A look at the servers before the load: are they there, and what are they?"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import orjson

from headrace.errors import HeadraceError, InputError
from headrace.loadgen.endpoint import Endpoint, parse_endpoint, resolve_all
from headrace.loadgen.spec import BenchSpec

TIMEOUT_S = 5.0
UNKNOWN, DOWN = "unknown", ""
PAGE_BYTES = 1 << 20


def check_servers(spec: BenchSpec) -> tuple[list[Endpoint], str]:
    """The endpoints with their addresses, and the engine's name.

    The name is `simulated` as soon as one server says so, `vllm X`, or `unknown`; several differing
    ones are joined. Raises InputError for a malformed URL or a missing key, HeadraceError when the
    first server cannot be reached. Further ones may be down: that is counted, as when they go
    down during the load.
    """
    key = api_key(spec.api_key_env)
    for name in spec.header_envs.values():
        secret(name, "--header-env")
    parsed = [parse_endpoint(url) for url in spec.urls]
    with ThreadPoolExecutor(max_workers=min(16, len(parsed))) as pool:
        endpoints = resolve_all(parsed)
        later = pool.map(lambda endpoint: _name_if_there(endpoint, key), endpoints[1:])
        names = {engine_name(endpoints[0], key), *later} - {DOWN}
    if "simulated" in names:
        return endpoints, "simulated"
    return endpoints, ", ".join(sorted(names))


def api_key(name: str | None) -> str | None:
    """The key in that environment variable. Raises InputError when there is none."""
    return None if name is None else secret(name, "--api-key-env")


def secret(name: str, option: str) -> str:
    """The value of an environment variable that goes into a header. Raises InputError."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise InputError(
            f"{option} {name}: the environment variable is not set",
            hint=f"export {name}=... in the shell that runs this",
        )
    if not value.isascii() or not value.isprintable():
        raise InputError(f"{option} {name}: the value has characters that no header may carry")
    return value


def engine_name(endpoint: Endpoint, key: str | None) -> str:
    """What the server is. Raises HeadraceError when it cannot be reached.

    A server that knows none of these paths is still one that can be loaded.
    """
    simulated, _ = _get(endpoint, "/health", key)
    if simulated:
        return "simulated"
    simulated, body = _get(endpoint, "/version", key)
    if simulated:
        return "simulated"
    try:
        found = orjson.loads(body)["version"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return UNKNOWN
    return f"vllm {found}" if isinstance(found, str) and found else UNKNOWN


def _name_if_there(endpoint: Endpoint, key: str | None) -> str:
    try:
        return engine_name(endpoint, key)
    except HeadraceError:
        return DOWN


def fetch(endpoint: Endpoint, path: str, key: str | None) -> bytes:
    """The body of a GET; empty when there is no server or no such page."""
    try:
        return _get(endpoint, path, key)[1]
    except HeadraceError:
        return b""


def post(endpoint: Endpoint, path: str, body: object, key: str | None) -> tuple[int, bytes]:
    """Status and answer of a JSON POST; status 0 when there was no answer."""
    connection = _connect(endpoint)
    try:
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        connection.request("POST", endpoint.prefix + path, orjson.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read(PAGE_BYTES)
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def _get(endpoint: Endpoint, path: str, key: str | None) -> tuple[bool, bytes]:
    """Whether the answer says `simulated`, and its body where the status is 200."""
    connection = _connect(endpoint)
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request("GET", endpoint.prefix + path, headers=headers)
        answer = connection.getresponse()
        simulated = answer.getheader("x-headrace-engine", "").lower() == "simulated"
        return simulated, answer.read(PAGE_BYTES) if answer.status == 200 else b""
    except (OSError, http.client.HTTPException):
        return False, b""
    finally:
        connection.close()


def _connect(endpoint: Endpoint, timeout_s: float = TIMEOUT_S) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if endpoint.tls else http.client.HTTPConnection
    connection = kind(endpoint.host, endpoint.port, timeout=timeout_s)
    try:
        if endpoint.socket:
            connection.sock = _unix_socket(endpoint.socket, timeout_s)
        else:
            connection.connect()
    except ssl.SSLError as error:
        raise HeadraceError(
            f"{endpoint.origin}: TLS failed: {error.reason or error}",
            hint="check the certificate; SSL_CERT_FILE names further authorities",
        ) from error
    except OSError as error:
        raise HeadraceError(
            f"cannot reach {endpoint.origin}: {_why(error)}",
            hint="start the server first, or correct --url",
        ) from error
    return connection


def _unix_socket(path: str, timeout_s: float) -> socket.socket:
    wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    wire.settimeout(timeout_s)
    wire.connect(path)
    return wire


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    return (error.strerror or str(error)).lower()
