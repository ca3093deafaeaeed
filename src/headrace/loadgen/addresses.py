"""Where the servers' names lead to: known before the load, looked up again when that fails."""

from __future__ import annotations

import asyncio
import socket
from time import perf_counter

from headrace.loadgen.endpoint import Endpoint, first_address

AGAIN_S = 1.0
"""A name is looked up at most this often, however many requests wait for it."""


class Addresses:
    """The address of each endpoint, as far as known. No request waits for DNS while it is right."""

    def __init__(self, endpoints: list[Endpoint]) -> None:
        self._endpoints = endpoints
        self._known = [endpoint.address for endpoint in endpoints]
        self._lookups: dict[int, tuple[float, asyncio.Task[str]]] = {}

    async def of(self, url: int) -> str:
        """The address to try. Raises socket.gaierror when the name leads nowhere."""
        return self._known[url] or await self._look_up(url)

    async def other(self, url: int, failed: str) -> str | None:
        """An address to try instead of one that failed; None when the name still leads there.

        Raises socket.gaierror when the name leads nowhere by now.
        """
        if failed == self._endpoints[url].host:
            return None
        found = await self._look_up(url)
        return None if found == failed else found

    async def _look_up(self, url: int) -> str:
        now = perf_counter()
        asked_s, task = self._lookups.get(url, (0.0, None))
        if task is None or (task.done() and now - asked_s > AGAIN_S):
            task = asyncio.create_task(self._ask(url))
            self._lookups[url] = now, task
        return await asyncio.shield(task)

    async def _ask(self, url: int) -> str:
        endpoint = self._endpoints[url]
        loop = asyncio.get_running_loop()
        self._known[url] = ""
        try:
            found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
        self._known[url] = first_address(found)
        return self._known[url]
