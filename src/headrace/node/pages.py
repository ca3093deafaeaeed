"""HTTP servers inside an asyncio program: uvicorn, but signals stay with the program."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

CONNECTIONS = 1024
KEEP_ALIVE_S = 10


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The program around it decides what a signal means."""
        yield


class Page:
    """A server for an application; listens from `open` on, until `close`."""

    def __init__(
        self,
        app: Starlette,
        certificate: Path | None = None,
        key: Path | None = None,
        client_ca: Path | None = None,
    ) -> None:
        """With a certificate it is https; with `client_ca` clients must show one of that authority.

        Raises OSError (ssl.SSLError is one) for files that are not what they should be.
        """
        self._server = _Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                limit_concurrency=CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
                ssl_certfile=certificate,
                ssl_keyfile=key,
                ssl_ca_certs=str(client_ca) if client_ca else None,
                ssl_cert_reqs=ssl.CERT_REQUIRED if client_ca else ssl.CERT_NONE,
            )
        )
        self._task: asyncio.Task[None] | None = None
        self._scheme = "https" if certificate else "http"

    def open(self, host: str, port: int) -> str:
        """Listen and serve in the background; returns the URL. OSError when the port is busy."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=CONNECTIONS)
        self._task = asyncio.get_running_loop().create_task(self._server.serve([listener]))
        name = f"[{host}]" if ":" in host else host
        return f"{self._scheme}://{name}:{listener.getsockname()[1]}"

    async def close(self) -> None:
        """Answer what is being asked, then end."""
        self._server.should_exit = True
        if self._task:
            await self._task
